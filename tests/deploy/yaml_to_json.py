"""Every document of the YAML files named, as one JSON list on stdout: the tests are in Rust and read JSON."""
import json
import sys

import yaml

documents = []
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        documents += [{"file": path, "document": one} for one in yaml.safe_load_all(file)]
json.dump(documents, sys.stdout)
