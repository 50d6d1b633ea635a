"""`python -m modelyard.importing.whole`: are a received version's files what they are called? Nothing in them is run.

{"artifact", "golden", "evaluation", "called"} -> {}; the first is a path, the others too or null
"""

from pathlib import Path

from modelyard.errors import ConfigurationError
from modelyard.evaluation import read_evaluation
from modelyard.golden import read_golden
from modelyard.importing.bounded import Answer, answer
from modelyard.importing.read import check_model


def examine(request: Answer) -> Answer:
    """Raises ConfigurationError for an artifact that is no whole ONNX file, golden or held-out rows that are none.

    `called` is how complaints name the folder that they lie in.
    """
    artifact = Path(request["artifact"])
    try:
        check_model(artifact)
        if request["golden"]:
            read_golden(Path(request["golden"]))
        if request["evaluation"]:
            read_evaluation(Path(request["evaluation"]))
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace(str(artifact.parent), request["called"])) from None
    return {}


if __name__ == "__main__":
    answer(examine)
