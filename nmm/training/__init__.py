"""What `nmm.training.run` is made of: the objective, the optimiser and its schedule, checkpoints, execution on one or many devices."""

import warnings

# Composer's import makes tqdm look for the widgets of a notebook; bars of text are all that is drawn here
warnings.filterwarnings("ignore", message="IProgress not found")
