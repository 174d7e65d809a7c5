"""From one vector to another."""

from embedkit.modules.projection.concepts import Concepts, LinearConcepts, PrototypeConcepts

__all__ = ["Concepts", "LinearConcepts", "PrototypeConcepts"]
