"""Sound classes of the synthetic dataset, with label names of VGGSound and AudioSet.

The group of a class says which modality carries the evidence in this dataset:

- ``balanced``: clear in both modalities.
- ``audio better``: clear in audio; the frames are small, dark or alike (three people who cough, sneeze, whistle).
- ``visual better``: clear in video; the sounds are short knocks or soft noises that resemble one another.
- ``multiple names``: labels with a comma, which the curate stage drops.
- ``unseen``: only in the AudioSet-like part; the VGGSound-like list lacks them.
"""

from dataclasses import dataclass

BALANCED, AUDIO_BETTER, VISUAL_BETTER = "balanced", "audio better", "visual better"
MULTI_NAME, UNSEEN = "multiple names", "unseen"


@dataclass(frozen=True)
class SoundClass:
    """One sound class.

    Attributes:
        name: Label, and key of the class in every table of this package.
        group: One of the groups above.
        event_interval: Shortest and longest time in seconds between two events (barks, bounces, key strokes), and the
            fraction by which that time varies within a clip.
        audioset_names: Display names of an AudioSet clip of this class: always the first, each other one in some clips.
    """

    name: str
    group: str
    event_interval: tuple[float, float, float]
    audioset_names: tuple[str, ...] = ()


MAIN_CLASSES: tuple[SoundClass, ...] = (
    SoundClass("ambulance siren", BALANCED, (0.45, 0.8, 0.0), ("Ambulance (siren)", "Emergency vehicle", "Siren")),
    SoundClass("playing piano", BALANCED, (0.22, 0.55, 0.1), ("Piano", "Music")),
    SoundClass("dog barking", BALANCED, (0.45, 1.1, 0.4), ("Bark", "Dog", "Animal")),
    SoundClass("church bell ringing", BALANCED, (1.1, 2.2, 0.03), ("Church bell", "Bell")),
    SoundClass("helicopter", BALANCED, (0.06, 0.1, 0.0), ("Helicopter", "Aircraft")),
    SoundClass("playing drum kit", BALANCED, (0.2, 0.33, 0.02), ("Drum kit", "Drum")),
    SoundClass("train horning", BALANCED, (2.2, 3.6, 0.2), ("Train horn", "Train")),
    SoundClass(
        "chicken crowing", BALANCED, (2.2, 3.6, 0.25), ("Crowing, cock-a-doodle-doo", "Chicken, rooster", "Fowl")
    ),
    SoundClass("playing acoustic guitar", BALANCED, (0.3, 0.7, 0.08), ("Acoustic guitar", "Guitar", "Music")),
    SoundClass("fireworks banging", BALANCED, (0.8, 1.8, 0.5), ("Fireworks", "Burst, pop")),
    SoundClass("people coughing", AUDIO_BETTER, (0.9, 2.0, 0.4), ("Cough",)),
    SoundClass("people sneezing", AUDIO_BETTER, (2.0, 3.6, 0.3), ("Sneeze",)),
    SoundClass("people whistling", AUDIO_BETTER, (0.25, 0.5, 0.2), ("Whistling",)),
    SoundClass("thunder", AUDIO_BETTER, (2.8, 4.5, 0.35), ("Thunder", "Thunderstorm")),
    SoundClass("smoke detector beeping", AUDIO_BETTER, (0.9, 1.5, 0.0), ("Smoke detector, smoke alarm", "Alarm")),
    SoundClass("owl hooting", AUDIO_BETTER, (2.0, 3.4, 0.2), ("Hoot", "Owl", "Bird")),
    SoundClass("mosquito buzzing", AUDIO_BETTER, (1.0, 2.5, 0.4), ("Mosquito", "Insect", "Buzz")),
    SoundClass("cricket chirping", AUDIO_BETTER, (0.35, 0.8, 0.06), ("Cricket", "Insect")),
    SoundClass(
        "police car (siren)", AUDIO_BETTER, (0.28, 0.4, 0.0), ("Police car (siren)", "Emergency vehicle", "Siren")
    ),
    SoundClass("baby crying", AUDIO_BETTER, (0.9, 1.5, 0.2), ("Baby cry, infant cry",)),
    SoundClass("basketball bounce", VISUAL_BETTER, (0.4, 1.1, 0.12), ("Basketball bounce", "Bouncing")),
    SoundClass("playing tennis", VISUAL_BETTER, (1.0, 2.4, 0.25), ("Whack, thwack",)),
    SoundClass("bowling impact", VISUAL_BETTER, (3.0, 4.6, 0.1), ("Clatter", "Roll")),
    SoundClass("skateboarding", VISUAL_BETTER, (1.4, 2.6, 0.3), ("Skateboard",)),
    SoundClass("bird wings flapping", VISUAL_BETTER, (0.12, 0.28, 0.1), ("Bird flight, flapping wings", "Bird")),
    SoundClass("slot machine", VISUAL_BETTER, (1.2, 2.2, 0.2), ("Jingle, tinkle",)),
    SoundClass("swimming", VISUAL_BETTER, (0.7, 1.2, 0.12), ("Splash, splatter", "Water")),
    SoundClass("typing on computer keyboard", VISUAL_BETTER, (0.1, 0.22, 0.5), ("Computer keyboard", "Typing")),
    SoundClass("striking pool", VISUAL_BETTER, (1.3, 3.0, 0.25), ("Chink, clink",)),
    SoundClass("rope skipping", VISUAL_BETTER, (0.36, 0.75, 0.06), ("Whip",)),
)

MULTI_NAME_CLASSES: tuple[SoundClass, ...] = (
    SoundClass("race car, auto racing", MULTI_NAME, (1.6, 3.2, 0.3), ("Race car, auto racing", "Car", "Vehicle")),
    SoundClass("playing violin, fiddle", MULTI_NAME, (0.4, 1.0, 0.2), ("Violin, fiddle", "Music")),
    SoundClass("cattle, bovinae cowbell", MULTI_NAME, (0.4, 0.9, 0.5), ("Cowbell", "Cattle, bovinae")),
)

# the last six resemble the visual-better group: distinct pictures, sounds that are knocks and rustles
UNSEEN_CLASSES: tuple[SoundClass, ...] = (
    SoundClass("Alarm clock", UNSEEN, (0.7, 1.1, 0.0), ("Alarm clock", "Alarm")),
    SoundClass("Telephone bell ringing", UNSEEN, (2.4, 3.6, 0.05), ("Telephone bell ringing", "Telephone")),
    SoundClass("Steam whistle", UNSEEN, (2.0, 3.4, 0.25), ("Steam whistle", "Whistle")),
    SoundClass("Heart sounds, heartbeat", UNSEEN, (0.55, 1.0, 0.03), ("Heart sounds, heartbeat",)),
    SoundClass("Duck", UNSEEN, (0.35, 0.9, 0.4), ("Duck", "Quack", "Fowl")),
    SoundClass("Frog", UNSEEN, (0.6, 1.3, 0.25), ("Frog", "Croak", "Wild animals")),
    SoundClass("Gong", UNSEEN, (2.6, 4.5, 0.2), ("Gong", "Percussion")),
    SoundClass("Harp", UNSEEN, (0.12, 0.3, 0.1), ("Harp", "Music", "Plucked string instrument")),
    SoundClass("Chainsaw", UNSEEN, (0.8, 2.2, 0.4), ("Chainsaw", "Light engine (high frequency)")),
    SoundClass("Vacuum cleaner", UNSEEN, (1.0, 2.0, 0.2), ("Vacuum cleaner",)),
    SoundClass("Hammer", UNSEEN, (0.4, 0.9, 0.15), ("Hammer", "Tools")),
    SoundClass("Scissors", UNSEEN, (0.5, 1.0, 0.2), ("Scissors",)),
    SoundClass("Chopping (food)", UNSEEN, (0.2, 0.45, 0.12), ("Chopping (food)", "Chop")),
    SoundClass("Bicycle", UNSEEN, (0.05, 0.1, 0.02), ("Bicycle",)),
    SoundClass("Writing", UNSEEN, (0.15, 0.35, 0.4), ("Writing", "Scratch")),
    SoundClass("Shuffling cards", UNSEEN, (1.2, 2.0, 0.2), ("Shuffling cards",)),
)

# display name -> (index, mid) in AudioSet's class_labels_indices.csv
AUDIOSET_ROWS: dict[str, tuple[int, str]] = {
    "Baby cry, infant cry": (23, "/t/dd00002"),
    "Whistling": (40, "/m/01w250"),
    "Cough": (47, "/m/01b_21"),
    "Sneeze": (49, "/m/01hsr_"),
    "Heart sounds, heartbeat": (64, "/m/01jg02"),
    "Animal": (72, "/m/0jbk"),
    "Dog": (74, "/m/0bt9lr"),
    "Bark": (75, "/m/05tny_"),
    "Cattle, bovinae": (90, "/m/01xq0k1"),
    "Cowbell": (92, "/m/0239kh"),
    "Fowl": (98, "/m/025rv6n"),
    "Chicken, rooster": (99, "/m/09b5t"),
    "Crowing, cock-a-doodle-doo": (101, "/m/07qn5dc"),
    "Duck": (104, "/m/09ddx"),
    "Quack": (105, "/m/07qdb04"),
    "Wild animals": (108, "/m/01280g"),
    "Bird": (111, "/m/015p6"),
    "Owl": (119, "/m/09d5_"),
    "Hoot": (120, "/m/07r_80w"),
    "Bird flight, flapping wings": (121, "/m/05_wcq"),
    "Insect": (126, "/m/03vt0"),
    "Cricket": (127, "/m/09xqv"),
    "Mosquito": (128, "/m/09f96"),
    "Buzz": (130, "/m/07pjwq1"),
    "Frog": (132, "/m/09ld4"),
    "Croak": (133, "/m/07st88b"),
    "Music": (137, "/m/04rlf"),
    "Plucked string instrument": (139, "/m/0fx80y"),
    "Guitar": (140, "/m/0342h"),
    "Acoustic guitar": (143, "/m/042v_gx"),
    "Piano": (153, "/m/05r5c"),
    "Percussion": (161, "/m/0l14md"),
    "Drum kit": (162, "/m/02hnl"),
    "Drum": (164, "/m/026t6"),
    "Gong": (177, "/m/0mbct"),
    "Violin, fiddle": (191, "/m/07y_7"),
    "Harp": (199, "/m/03m5k"),
    "Bell": (200, "/m/0395lw"),
    "Church bell": (201, "/m/03w41f"),
    "Thunderstorm": (286, "/m/0jb2l"),
    "Thunder": (287, "/m/0ngt1"),
    "Water": (288, "/m/0838f"),
    "Vehicle": (300, "/m/07yv9"),
    "Car": (307, "/m/0k4j"),
    "Race car, auto racing": (315, "/m/0ltv"),
    "Emergency vehicle": (322, "/m/03j1ly"),
    "Police car (siren)": (323, "/m/04qvtq"),
    "Ambulance (siren)": (324, "/m/012n7d"),
    "Train": (329, "/m/07jdr"),
    "Train horn": (331, "/m/0284vy3"),
    "Aircraft": (335, "/m/0k5j"),
    "Helicopter": (339, "/m/09ct_"),
    "Bicycle": (341, "/m/0199g"),
    "Skateboard": (342, "/m/06_fw"),
    "Light engine (high frequency)": (344, "/t/dd00065"),
    "Chainsaw": (347, "/m/01j4z9"),
    "Chopping (food)": (366, "/m/07pn_8q"),
    "Vacuum cleaner": (377, "/m/0d31p"),
    "Scissors": (381, "/m/01lsmm"),
    "Shuffling cards": (383, "/m/05rj2"),
    "Typing": (384, "/m/0316dw"),
    "Computer keyboard": (386, "/m/01m2v"),
    "Writing": (387, "/m/081rb"),
    "Alarm": (388, "/m/07pp_mv"),
    "Telephone": (389, "/m/07cx4"),
    "Telephone bell ringing": (390, "/m/07pp8cl"),
    "Alarm clock": (395, "/m/046dlr"),
    "Siren": (396, "/m/03kmc9"),
    "Smoke detector, smoke alarm": (399, "/m/01y3hg"),
    "Whistle": (402, "/m/0l156k"),
    "Steam whistle": (403, "/m/06hck5"),
    "Tools": (418, "/m/07k1x"),
    "Hammer": (419, "/m/03l9g"),
    "Fireworks": (432, "/m/0g6b5"),
    "Burst, pop": (434, "/m/07qsvvw"),
    "Chop": (438, "/m/07pczhz"),
    "Chink, clink": (442, "/m/07q7njn"),
    "Splash, splatter": (445, "/m/07rrlb6"),
    "Basketball bounce": (465, "/m/018w8"),
    "Whack, thwack": (468, "/m/07rdhzs"),
    "Bouncing": (471, "/m/07pqn27"),
    "Whip": (472, "/m/07rbp7_"),
    "Scratch": (474, "/m/07qb_dv"),
    "Roll": (477, "/m/07s8j8t"),
    "Clatter": (489, "/m/07qmpdm"),
    "Jingle, tinkle": (495, "/m/07qfgpx"),
}

SOUND_CLASSES: dict[str, SoundClass] = {
    sound_class.name: sound_class for sound_class in (*MAIN_CLASSES, *MULTI_NAME_CLASSES, *UNSEEN_CLASSES)
}
