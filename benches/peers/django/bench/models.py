"""A model for each table, so that Django knows what to flush."""

import json
import sys

from django.db import models

for _number in range(1, json.loads(sys.argv[1])["tables"] + 1):
    _parent, _other = max(_number // 2, 1), max(_number // 3, 1)
    _fields = {
        "parent": models.ForeignKey(
            f"bench.T{_parent}", models.CASCADE, null=True, db_column="parent", related_name="+"
        ),
        "other": models.ForeignKey(
            f"bench.T{_other}", models.CASCADE, null=True, db_column="other", related_name="+"
        ),
        "name": models.TextField(),
        "__module__": __name__,
        "Meta": type("Meta", (), {"db_table": f"t{_number}"}),
    }
    globals()[f"T{_number}"] = type(f"T{_number}", (models.Model,), _fields)
