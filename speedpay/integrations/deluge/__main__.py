"""What deluged starts; see ``payer.py``."""

from __future__ import annotations

import sys

from speedpay.integrations.deluge.payer import main

sys.exit(main())
