"""Sounds of the classes: `synthesize` renders any class, different for every `rng`."""

import numpy as np

from synesthesia.synthetic.audio import impacts, living, machines, music
from synesthesia.synthetic.audio.synth import osc
from synesthesia.synthetic.labels import SOUND_CLASSES

SYNTHESIZERS = {
    "ambulance siren": machines.ambulance_siren,
    "playing piano": music.playing_piano,
    "dog barking": living.dog_barking,
    "church bell ringing": music.church_bell,
    "helicopter": machines.helicopter,
    "playing drum kit": music.playing_drum_kit,
    "train horning": machines.train_horning,
    "chicken crowing": living.chicken_crowing,
    "playing acoustic guitar": music.acoustic_guitar,
    "fireworks banging": impacts.fireworks,
    "people coughing": living.people_coughing,
    "people sneezing": living.people_sneezing,
    "people whistling": living.people_whistling,
    "thunder": impacts.thunder,
    "smoke detector beeping": machines.smoke_detector,
    "owl hooting": living.owl_hooting,
    "mosquito buzzing": living.mosquito_buzzing,
    "cricket chirping": living.cricket_chirping,
    "police car (siren)": machines.police_siren,
    "baby crying": living.baby_crying,
    "basketball bounce": impacts.basketball,
    "playing tennis": impacts.tennis,
    "bowling impact": impacts.bowling,
    "skateboarding": impacts.skateboarding,
    "bird wings flapping": living.bird_wings_flapping,
    "slot machine": machines.slot_machine,
    "swimming": impacts.swimming,
    "typing on computer keyboard": impacts.typing,
    "striking pool": impacts.striking_pool,
    "rope skipping": impacts.rope_skipping,
    "race car, auto racing": machines.race_car,
    "playing violin, fiddle": music.playing_violin,
    "cattle, bovinae cowbell": living.cattle_cowbell,
    "Alarm clock": machines.alarm_clock,
    "Telephone bell ringing": machines.telephone,
    "Steam whistle": machines.steam_whistle,
    "Heart sounds, heartbeat": living.heartbeat,
    "Duck": living.duck,
    "Frog": living.frog,
    "Gong": music.gong,
    "Harp": music.harp,
    "Chainsaw": machines.chainsaw,
    "Vacuum cleaner": machines.vacuum_cleaner,
    "Hammer": impacts.hammer,
    "Scissors": impacts.scissors,
    "Chopping (food)": impacts.chopping,
    "Bicycle": machines.bicycle,
    "Writing": impacts.writing,
    "Shuffling cards": impacts.shuffling_cards,
}


def draw_beats(class_name: str, rng: np.random.Generator, seconds: float = 10.0) -> np.ndarray:
    """Draw the times of a clip's events, which its audio and its video share.

    Args:
        class_name: Key of `SOUND_CLASSES`.
        rng: Random generator.
        seconds: Duration of the clip.

    Returns:
        Times in seconds, float64 (events,), ascending, at least two.
    """
    low, high, vary = SOUND_CLASSES[class_name].event_interval
    gap = low * (high / low) ** rng.uniform()
    count = int(seconds / gap * 1.5) + 3
    gaps = gap * (1 + vary * rng.uniform(-1, 1, count))
    times = np.cumsum(gaps) - gaps[0] + rng.uniform(0.1, max(0.15, min(1.2, gap)))
    return times[: max(2, int(np.searchsorted(times, seconds)))]


def synthesize(
    class_name: str, rng: np.random.Generator, seconds: float, rate: int, beats: np.ndarray | None = None
) -> np.ndarray:
    """Synthesize a sound of a class; level and timbre are random.

    Args:
        class_name: Key of `SYNTHESIZERS`.
        rng: Random generator.
        seconds: Duration.
        rate: Sample rate in Hz.
        beats: Times of the events in seconds; None draws them from `rng`.

    Returns:
        Mono samples, float32 (seconds * rate,) in [-1, 1].
    """
    n = round(seconds * rate)
    x = SYNTHESIZERS[class_name](rng, n, rate, draw_beats(class_name, rng, seconds) if beats is None else beats)
    gain = 0.9 * 10 ** (-rng.uniform(0, 12) / 20)
    hum = rng.uniform(0, 0.003) * osc(50.0, n, rate, (1, 0.4, 0.3))
    return np.clip(x / (np.abs(x).max() + 1e-9) * gain + hum, -1, 1).astype(np.float32)
