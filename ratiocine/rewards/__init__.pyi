from .config import RewardConfig as RewardConfig
from .rollout import Rollout as Rollout
from .terms import Format as Format
from .terms import repeated as repeated
from .unicode_scripts import scripts as scripts
