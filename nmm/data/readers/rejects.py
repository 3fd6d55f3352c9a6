"""What was left out of a corpus and why: counts by reason, with the first few names."""

from collections.abc import Iterable

FIRST = 5  # names listed for each reason


class Rejects:
    """Counts of rejected documents, and of images left out of documents that stay.

    `reasons` maps each reason to {"count", "first": names}.
    """

    def __init__(self) -> None:
        self.documents = 0
        self.images = 0
        self.reasons: dict[str, dict] = {}

    def add(self, reason: str, name: str, of: str = "documents") -> None:
        """Count one rejected document; `of="images"`: one image of a document that stays without it; `of="none"`: one
        image left out as configured, which does not count as bad."""
        if of == "images":
            self.images += 1
        elif of == "documents":
            self.documents += 1
        entry = self.reasons.setdefault(reason, {"count": 0, "first": []})
        entry["count"] += 1
        if len(entry["first"]) < FIRST:
            entry["first"].append(name)

    def to_dict(self) -> dict:
        """As JSON values; `merge` reads them."""
        return {"documents": self.documents, "images": self.images, "reasons": self.reasons}

    @classmethod
    def merge(cls, parts: Iterable[dict]) -> "Rejects":
        """The sum of several parts, in their order."""
        total = cls()
        for part in parts:
            total.documents += part["documents"]
            total.images += part["images"]
            for reason, entry in part["reasons"].items():
                mine = total.reasons.setdefault(reason, {"count": 0, "first": []})
                mine["count"] += entry["count"]
                mine["first"] = (mine["first"] + entry["first"])[:FIRST]
        return total
