"""Animated scenes of the classes: `make_scene` draws any class, different for every `rng`."""

import cmath
import math

import numpy as np
from PIL import Image, ImageDraw

from synesthesia.synthetic.images import animals, music, people, things, tools, vehicles
from synesthesia.synthetic.images.pen import Pen, draw_background
from synesthesia.synthetic.labels import SOUND_CLASSES

# class name -> (factory, possible backgrounds)
SCENE_FACTORIES = {
    "ambulance siren": (vehicles.ambulance, ("street",)),
    "playing piano": (music.piano, ("room", "stage")),
    "dog barking": (animals.dog_barking, ("grass", "room", "street")),
    "church bell ringing": (music.church_bell, ("sky", "grass")),
    "helicopter": (vehicles.helicopter, ("sky", "grass")),
    "playing drum kit": (music.drum_kit, ("stage", "room")),
    "train horning": (vehicles.train, ("grass", "street")),
    "chicken crowing": (animals.chicken_crowing, ("grass", "street")),
    "playing acoustic guitar": (music.guitar, ("room", "stage")),
    "fireworks banging": (vehicles.fireworks, ("night",)),
    "people coughing": (people.people_coughing, ("room", "street", "hall")),
    "people sneezing": (people.people_sneezing, ("room", "street", "hall")),
    "people whistling": (people.people_whistling, ("room", "street", "hall")),
    "thunder": (things.thunder, ("night",)),
    "smoke detector beeping": (things.smoke_detector, ("room", "table")),
    "owl hooting": (animals.owl_hooting, ("night",)),
    "mosquito buzzing": (animals.mosquito_buzzing, ("room", "sky", "table")),
    "cricket chirping": (animals.cricket_chirping, ("grass", "night")),
    "police car (siren)": (vehicles.police_car, ("night", "street")),
    "baby crying": (people.baby_crying, ("room", "table")),
    "basketball bounce": (people.basketball, ("hall", "street")),
    "playing tennis": (people.tennis, ("grass", "hall")),
    "bowling impact": (things.bowling, ("hall",)),
    "skateboarding": (people.skateboarding, ("street",)),
    "bird wings flapping": (animals.bird_wings_flapping, ("sky", "grass")),
    "slot machine": (things.slot_machine, ("room", "stage")),
    "swimming": (people.swimming, ("water",)),
    "typing on computer keyboard": (people.typing, ("table",)),
    "striking pool": (things.pool, ("hall", "stage")),
    "rope skipping": (people.rope_skipping, ("hall", "street", "grass")),
    "race car, auto racing": (vehicles.race_car, ("street",)),
    "playing violin, fiddle": (music.violin, ("room", "stage")),
    "cattle, bovinae cowbell": (animals.cattle, ("grass",)),
    "Alarm clock": (things.alarm_clock, ("room", "table")),
    "Telephone bell ringing": (things.telephone, ("room", "table")),
    "Steam whistle": (vehicles.steam_engine, ("grass",)),
    "Heart sounds, heartbeat": (animals.heartbeat, ("stage", "night")),
    "Duck": (animals.duck, ("water",)),
    "Frog": (animals.frog, ("water", "grass")),
    "Gong": (music.gong, ("room", "stage")),
    "Harp": (music.harp, ("room", "stage")),
    "Chainsaw": (tools.chainsaw, ("grass",)),
    "Vacuum cleaner": (tools.vacuum, ("room", "hall")),
    "Hammer": (tools.hammer, ("room", "table")),
    "Scissors": (tools.scissors, ("table",)),
    "Chopping (food)": (tools.chopping, ("room", "table")),
    "Bicycle": (vehicles.bicycle, ("street", "grass")),
    "Writing": (tools.writing, ("table",)),
    "Shuffling cards": (things.shuffling_cards, ("table",)),
}
# far from the camera
SMALL_SUBJECTS = {"mosquito buzzing", "cricket chirping", "owl hooting", "smoke detector beeping"}


class Scene:
    """Animated scene of one class. The constructor makes all random draws, so a time always gives the same frame."""

    def __init__(self, rng: np.random.Generator, class_name: str, size: tuple[int, int], beats: np.ndarray) -> None:
        """Draw a random scene.

        Args:
            rng: Random generator.
            class_name: Key of `SCENE_FACTORIES`.
            size: (width, height) in pixels.
            beats: Times of the events in seconds, as in the audio.
        """
        factory, backgrounds = SCENE_FACTORIES[class_name]
        self.size = size
        self.background = draw_background(rng, backgrounds[int(rng.integers(len(backgrounds)))], size)
        zoom = rng.uniform(0.68, 1.02) * (rng.uniform(0.5, 0.85) if class_name in SMALL_SUBJECTS else 1.0)
        self.transform = zoom * min(size) / 2 / 1.15 * cmath.exp(1j * rng.uniform(-0.1, 0.1))
        shift = rng.uniform(-0.16, 0.16, 2)
        self.origin = complex(size[0] * (0.5 + shift[0]), size[1] * (0.52 + 0.8 * shift[1]))
        self.flip = bool(rng.random() < 0.5)
        self.shake = (rng.uniform(0, 0.02), rng.uniform(0.5, 2.0), rng.uniform(0, 6))
        self.draw = factory(rng, beats)

    def render_image(self, t: float, x_offset: float = 0.0) -> Image.Image:
        """Render a time as a Pillow image.

        Args:
            t: Time in seconds.
            x_offset: Shift of the subject to the right in frame widths.

        Returns:
            The image.
        """
        image = self.background.copy()
        size, speed, phase = self.shake
        move = complex(math.sin(t * speed + phase), math.sin(t * speed * 1.3 + 2 * phase)) * size * min(self.size)
        self.draw(
            Pen(ImageDraw.Draw(image), self.transform, self.origin + move + x_offset * self.size[0], self.flip), t
        )
        return image

    def render(self, t: float) -> np.ndarray:
        """Render time t (seconds) as uint8 (height, width, 3)."""
        return np.asarray(self.render_image(t))


def make_scene(
    rng: np.random.Generator, class_name: str, size: tuple[int, int] = (160, 120), beats: np.ndarray | None = None
) -> Scene:
    """Create a scene of a class.

    Args:
        rng: Random generator.
        class_name: Key of `SCENE_FACTORIES`.
        size: (width, height) in pixels.
        beats: Times of the events in seconds; None draws them from `rng`.

    Returns:
        The scene.

    Raises:
        KeyError: The class is unknown.
    """
    if beats is None:
        from synesthesia.synthetic.audio import draw_beats

        beats = draw_beats(class_name, rng)
    if class_name not in SOUND_CLASSES:
        raise KeyError(f"{class_name!r} is not a class of the synthetic dataset")
    return Scene(rng, class_name, size, beats)
