"""The messages of espoofer: what it would send in each of its cases, as JSON. Sends nothing itself.

    python3 espoofed.py TENANT_DOMAIN VICTIM_AUTHOR RECIPIENT

The folder that this runs in needs an RSA key `dkimkey`, with which espoofer signs.
"""

import base64
import copy
import json
import os
import sys
from importlib.util import find_spec

# Its modules import each other as if they were alone in the world; it brings a dkim of its own.
sys.path.insert(0, os.path.dirname(find_spec("espoofer").origin))

import config as settings  # noqa: E402
import testcases  # noqa: E402
from exploits_builder import ExploitsBuilder  # noqa: E402

domain, author, recipient = (text.encode() for text in sys.argv[1:])


def cases():
    for name in testcases.test_cases:
        config = copy.deepcopy(settings.config)
        config.update(attacker_site=domain, legitimate_site_address=author, victim_address=recipient, case_id=name.encode(),
                      mode=name[0], subject_header=b"", to_header=b"", body=b"")
        config["client_mode"]["username"] = b"attacker@" + domain
        made = ExploitsBuilder(copy.deepcopy(testcases.test_cases), config).generate_smtp_seqs()
        yield name, {key: base64.b64encode(value).decode() for key, value in made.items()}


print(json.dumps(dict(cases())))
