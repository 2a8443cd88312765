"""Browser study for human participants: the clips and questions of the models, as audio, silent video, and both.

Modules:
    consent: Consent text.
    data_quality: Criteria for inattentive and slow participants.
    export: Completed responses as CSV.
    simulation: Simulated participants for load tests.
    design: Materials from the pipeline's outputs, trial plan, assignment of trials, session steps.
    db: Schema, connections, the stored plan, sessions, validation of answers, completed trials.
    stimuli: Media files with the models' samples and pixels, sound check, Huggins-pitch headphone check.
    web: Startup, state of a server process, participant and researcher pages, security.
"""
