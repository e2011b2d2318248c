"""The form of names in Kubernetes.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and `…/labels/`
"""

import re

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_NAME = re.compile(r"([a-z0-9][-a-z0-9.]{0,251}[a-z0-9]?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
FLEET_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?")
"""Name of a fleet or a pool: a label value, and with a number a node's name."""
FLEET_NAME_RULE = "at most 50 lower case letters, digits and '-', with a letter or digit at both ends"
