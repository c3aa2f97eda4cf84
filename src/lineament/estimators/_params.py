"""Parameters as scikit-learn asks for them, without needing scikit-learn."""

import inspect
from typing import Any, TypeVar

from lineament.errors import ConfigError

T = TypeVar("T", bound="Params")


class Params:
    """Base of estimators whose constructor only stores its arguments: `sklearn.base.clone` and grid searches work."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments; ``deep`` is scikit-learn's and changes nothing here."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self: T, **params: Any) -> T:
        """Change some of the constructor's arguments.

        Raises:
            ConfigError: there is no such argument.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ConfigError(
                    f"{type(self).__name__} has no parameter {name}, expected one of {', '.join(known)}; rename it"
                )
            setattr(self, name, value)
        return self
