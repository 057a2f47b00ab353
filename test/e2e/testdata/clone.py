# Prints values that must differ in sessions that continue from one snapshot, one per line.
import random
import uuid

import numpy

print("random=%r" % random.random())
print("numpy=%r" % numpy.random.rand())
print("generator=%r" % numpy.random.default_rng().random())
print("uuid1=%s" % uuid.uuid1())
print("uuid4=%s" % uuid.uuid4())
session = get_ipython().kernel.session
print("session=%s" % session.session)
if session.key:  # messages are signed over ZeroMQ only
    print("key=%s" % session.key.decode())
