// Detects when the participant leaves the page. Leaving counts once, whether the browser reports it as a blur (another
// window or tab), as hidden (another app on a phone), or as both. Reloading the page does not count.

export function watchFocus(onLeave) {
  const controller = new AbortController();
  const on = (target, name, handler) => target.addEventListener(name, handler, { signal: controller.signal });
  let isVisible = document.visibilityState === "visible";
  if (!isVisible) onLeave();
  const onBlur = () => {
    if (isVisible) onLeave();
    isVisible = false;
  };
  const onFocus = () => { isVisible = true; };
  on(window, "blur", onBlur);
  on(window, "focus", onFocus);
  on(document, "visibilitychange", () => (document.visibilityState === "visible" ? onFocus() : onBlur()));
  on(window, "pagehide", () => { isVisible = false; }); // fires before the visibilitychange of a reload
  on(window, "pageshow", onFocus);
  return () => controller.abort();
}
