"""Sends the requests of the article's own client: the same URLs, the same bodies, no token."""

import requests

URL = "http://localhost:5002"

print(requests.post(f"{URL}/start_session", data={"user_id": "user_test"}).json())
for code in ('x = 42\nprint(f"x = {x}")', "x + 1"):
    print(requests.post(f"{URL}/execute", json={"user_id": "user_test", "code": code}).json())
