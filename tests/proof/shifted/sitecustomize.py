"""Starts a program with its clock at SHIFTED_CLOCK, seconds after 1970, from where it runs on."""

import os
import time

if "SHIFTED_CLOCK" in os.environ:
    _shift = float(os.environ["SHIFTED_CLOCK"]) - time.time()
    _now, _now_ns, _local = time.time, time.time_ns, time.localtime
    time.time = lambda: _now() + _shift
    time.time_ns = lambda: _now_ns() + int(_shift * 1e9)
    time.localtime = lambda seconds=None: _local(time.time() if seconds is None else seconds)
