// Whether somebody is with the page. Going away counts once, whether the browser tells it as a blur (another window or
// tab), as hidden (another app on a phone) or as both; reloading the page is not going away.

export function watch(left) {
  const listening = new AbortController();
  const on = (target, name, act) => target.addEventListener(name, act, { signal: listening.signal });
  let here = document.visibilityState === "visible";
  if (!here) left();
  const away = () => {
    if (here) left();
    here = false;
  };
  const back = () => { here = true; };
  on(window, "blur", away);
  on(window, "focus", back);
  on(document, "visibilitychange", () => (document.visibilityState === "visible" ? back() : away()));
  on(window, "pagehide", () => { here = false; }); // comes before the hiding that a reload brings
  on(window, "pageshow", back);
  return () => listening.abort();
}
