"""What a client of the kernel on the stream sees while code runs: python3 interactions.py"""

import threading
import time
import unittest

from stream import CONTROL, SHELL, STDIN, Kernel, reply, text


class Interactions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kernel = Kernel()
        cls.kernel.run("import asyncio, os, subprocess, sys, threading, time\nfrom IPython.display import display")

    @classmethod
    def tearDownClass(cls):
        assert cls.kernel.close() == 0

    def run_cell(self, code, on=None, **more):
        return self.kernel.run(code, on, **more)

    def interrupted(self, code, after=0.2, count=1):
        """Runs code and interrupts it; returns the messages and the seconds from the interrupt to the end."""
        sent = []

        def interrupt():
            for _ in range(count):
                self.kernel.send(CONTROL, "interrupt_request", {})
                sent.append(time.monotonic())
                time.sleep(0.3)

        def on(message):
            if message["type"] == "execute_input" and not sent:
                timer = threading.Timer(after, interrupt)
                timer.start()
                self.addCleanup(timer.join)

        messages = self.run_cell(code, on)
        self.assertEqual(reply(messages)["status"], "error", code)
        self.assertEqual(reply(messages)["ename"], "KeyboardInterrupt", code)
        return messages, messages[-1]["at"] - sent[0]

    # Order and time.

    def test_the_parent_header_comes_back_byte_for_byte(self):
        messages = self.run_cell("print(1); 2")
        self.assertGreater(len(messages), 4)
        for message in messages:
            self.assertEqual(message["parent"], self.kernel.header)

    def test_messages_of_a_cell_have_one_order(self):
        kinds = [m["type"] for m in self.run_cell("print(1); 2")]
        self.assertEqual(kinds, ["status", "execute_input", "stream", "execute_result", "execute_reply", "status"])

    def test_a_long_cell_shows_its_first_output_early(self):
        messages = self.run_cell("import time\nprint('first')\ntime.sleep(2)\nprint('second')")
        first, second = [m["at"] for m in messages if m["type"] == "stream"]
        self.assertGreater(second - first, 1)
        self.assertEqual(text(messages), "first\nsecond\n")

    def test_output_of_programs_has_its_place(self):
        messages = self.run_cell("import subprocess\nfrom IPython.display import display\nprint('a')\n"
                                 "subprocess.run(['echo', 'b'])\ndisplay('c')\nsubprocess.run(['echo', 'd']); None")
        shown = [m["content"].get("text") or m["content"]["data"]["text/plain"] for m in messages
                 if m["type"] in ("stream", "display_data")]
        self.assertEqual("".join(shown), "a\nb\n'c'd\n")

    def test_output_of_a_program_comes_while_the_cell_waits_for_it(self):
        messages = self.run_cell("subprocess.run('echo early; sleep 2', shell=True); None")
        early = next(m["at"] for m in messages if m["type"] == "stream")
        self.assertGreater(messages[-1]["at"] - early, 1)

    def test_a_character_in_two_writes_of_a_program_stays_whole(self):
        messages = self.run_cell("import os, time\nos.write(1, b'\\xe6\\xbc'); time.sleep(0.3); os.write(1, b'\\xa2\\n'); None")
        self.assertEqual(text(messages), "漢\n")

    def test_an_error_aborts_what_came_with_it(self):
        content = {"silent": False, "store_history": True, "allow_stdin": False, "user_expressions": {}, "stop_on_error": True}
        first = self.kernel.send(SHELL, "execute_request", {**content, "code": "time.sleep(0.5); 1/0"})
        second = self.kernel.send(SHELL, "execute_request", {**content, "code": "print('never')"})
        statuses = {}
        while len(statuses) < 2:
            message = self.kernel.receive()
            if message["type"] == "execute_reply":
                statuses[message["of"]] = message["content"]["status"]
        self.assertEqual((statuses[first], statuses[second]), ("error", "aborted"))
        self.run_cell("pass")

    # Amounts.

    def test_a_hundred_thousand_lines_come_whole(self):
        messages = self.run_cell("for i in range(100000): print(i)")
        self.assertEqual(text(messages), "".join(f"{i}\n" for i in range(100000)))

    def test_code_waits_for_a_client_that_does_not_read(self):
        def on(message):
            if message["type"] == "execute_input":
                time.sleep(1.5)

        before = self.memory()
        messages = self.run_cell("for i in range(400000): print(i)", on)
        self.assertEqual(text(messages), "".join(f"{i}\n" for i in range(400000)))
        self.assertLess(self.memory() - before, 30 << 10)

    def memory(self):
        messages = self.run_cell("import resource\nresource.getrusage(resource.RUSAGE_SELF).ru_maxrss")
        return int(next(m["content"]["data"]["text/plain"] for m in messages if m["type"] == "execute_result"))

    def test_one_text_of_ten_million_characters_comes_in_pieces(self):
        messages = self.run_cell("print('x' * 10_000_000)")
        self.assertEqual(len(text(messages)), 10_000_001)
        self.assertLessEqual(max(len(m["content"]["text"]) for m in messages if m["type"] == "stream"), 1 << 17)

    def test_displays_of_two_threads_come_all(self):
        messages = self.run_cell("import threading\ndef show():\n    for i in range(500): display(i)\n"
                                 "t = threading.Thread(target=show); t.start()\nshow(); t.join()")
        self.assertEqual(sum(m["type"] == "display_data" for m in messages), 1000)

    # Interrupts.

    def test_every_kind_of_code_is_interrupted(self):
        for code in ("import time; time.sleep(60)", "while True: pass", "while True: print('x')", "input('?')",
                     "import asyncio\nawait asyncio.sleep(60)", "import subprocess; subprocess.run(['sleep', '60'])",
                     "!sleep 60", "import threading; l = threading.Lock(); l.acquire(); l.acquire()",
                     "import threading; t = threading.Thread(target=time.sleep, args=(5,)); t.start(); t.join()",
                     "import asyncio; asyncio.run(asyncio.sleep(60))"):
            with self.subTest(code):
                _, seconds = self.interrupted(code)
                self.assertLess(seconds, 20)
        self.assertEqual(text(self.run_cell("print('alive')")), "alive\n")

    def test_a_writer_that_waits_for_the_client_is_interrupted(self):
        def on(message):
            if message["type"] == "execute_input":
                time.sleep(1)
                self.kernel.send(CONTROL, "interrupt_request", {})

        messages = self.run_cell("while True: print('x' * 1000)", on)
        self.assertEqual(reply(messages)["ename"], "KeyboardInterrupt")

    def test_an_interrupt_of_an_idle_kernel_hits_no_cell(self):
        for _ in range(20):
            self.kernel.request("interrupt_request", {}, CONTROL)
            self.assertEqual(reply(self.run_cell("1"))["status"], "ok")

    # Alarms: exceptions between any two steps.

    def test_alarms_that_raise_lose_no_output(self):
        self.run_cell("""
import random, signal, time
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
printed = []
def work(end):
    while time.monotonic() < end:
        try:
            try:
                while time.monotonic() < end:
                    line = f'{len(printed)} ' + 'x' * random.randrange(3000)
                    printed.append(line)
                    print(line)
            except Alarm:
                pass
        except Alarm:
            pass
""")

        def on(message):
            if message["type"] == "stream":
                time.sleep(0.002)

        messages = self.run_cell("end = time.monotonic() + 4\nsignal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)\n"
                                 "while time.monotonic() < end:\n    try:\n        work(end)\n    except Alarm:\n        pass", on)
        self.disarm()
        # An alarm between the two writes of a print leaves its line without an end, or a line away.
        numbers = [int(line.split()[0]) for line in text(messages).split("\n") if line[:1].isdigit() and " " in line]
        self.assertEqual(numbers, sorted(numbers))
        self.assertGreater(len(numbers), 100)
        self.assertEqual(text(self.run_cell("print('whole')")), "whole\n")

    def test_alarms_between_cells_leave_an_answer_to_each(self):
        self.run_cell("import signal\nclass Alarm(Exception): pass\ndef ring(*_): raise Alarm\n"
                      "signal.signal(signal.SIGALRM, ring)\nsignal.setitimer(signal.ITIMER_REAL, 0.02, 0.02); None")
        for _ in range(50):
            self.run_cell("1 + 1")
        self.disarm()
        self.assertEqual(text(self.run_cell("print('whole')")), "whole\n")

    def disarm(self):
        """Ends the alarms. One of them can hit the cell that ends them."""
        while reply(self.run_cell("signal.setitimer(signal.ITIMER_REAL, 0); None"))["status"] != "ok":
            pass

    # Input and control.

    def test_input_is_asked_and_answered(self):
        def on(message):
            if message["type"] == "input_request":
                self.kernel.send(STDIN, "input_reply", {"value": "an answer"})

        messages = self.run_cell("print('before'); print(input('Question? '))", on)
        self.assertEqual(text(messages), "before\nan answer\n")

    def test_control_requests_are_answered_while_a_cell_runs(self):
        request = self.kernel.send(SHELL, "execute_request", {
            "code": "time.sleep(3)", "silent": False, "store_history": True,
            "allow_stdin": False, "user_expressions": {}, "stop_on_error": False})
        time.sleep(0.3)
        info = self.kernel.send(CONTROL, "kernel_info_request", {})
        order = [m["type"] for m in self.kernel.until_done(request) if m["type"] in ("kernel_info_reply", "execute_reply")]
        self.assertEqual(order, ["kernel_info_reply", "execute_reply"])
        self.assertTrue(info)

    # Forks, threads, tasks.

    def test_output_of_forks_arrives(self):
        messages = self.run_cell("import os, warnings\nwarnings.simplefilter('ignore')\npid = os.fork()\nif pid == 0:\n"
                                 "    print('x' * 200_000)\n    display('shown')\n    os._exit(0)\nos.waitpid(pid, 0)\nprint('parent')")
        self.assertIn("x" * 200_000, text(messages).replace("\n", ""))
        self.assertTrue(text(messages).endswith("parent\n"))
        self.assertEqual(sum(m["type"] == "display_data" for m in messages), 1)

    def test_a_fork_that_stays_answers_nothing(self):
        for code in ("pid = os.fork()", "pid = os.fork()\nif pid == 0: sys.exit(0)", "pid = os.fork()\nif pid == 0: 1/0"):
            first = self.kernel.send(SHELL, "execute_request", {
                "code": code + "\nif pid: os.waitpid(pid, 0); print('parent')", "silent": False, "store_history": True,
                "allow_stdin": False, "user_expressions": {}, "stop_on_error": False})
            messages = self.kernel.until_done(first) + self.run_cell("print(pid > 0)")
            self.assertEqual(sum(m["type"] == "execute_reply" for m in messages), 2, code)
            self.assertEqual([m["content"]["execution_state"] for m in messages if m["type"] == "status"],
                             ["busy", "idle", "busy", "idle"], code)
            self.assertTrue(text(messages).endswith("parent\nTrue\n"), text(messages))

    def test_threads_of_forks_do_not_mix_their_messages(self):
        messages = self.run_cell(
            "pid = os.fork()\nif pid == 0:\n    def write():\n        for _ in range(10): sys.stdout.write('x' * 65000)\n"
            "    threads = [threading.Thread(target=write) for _ in range(3)]\n    [t.start() for t in threads]\n"
            "    [t.join() for t in threads]\n    os._exit(0)\nos.waitpid(pid, 0); None")
        self.assertEqual(text(messages).count("x"), 30 * 65000)

    def test_subclasses_of_str_are_text(self):
        messages = self.run_cell("class Own(str): pass\nsys.stdout.write(Own('own\\n')); print(Own('printed'))")
        self.assertEqual(text(messages), "own\nprinted\n")

    def test_pools_work(self):
        for method in ("fork", "spawn"):
            code = (f"import multiprocessing\nwith multiprocessing.get_context('{method}').Pool(2) as pool:\n"
                    "    print(pool.map(abs, [-1, -2]))")
            self.assertEqual(text(self.run_cell(code)), "[1, 2]\n")

    def test_threads_and_tasks_print_for_their_cell(self):
        messages = self.run_cell("import asyncio, threading\ndef later():\n    time.sleep(0.4); sys.stdout.write('thread\\n')\n"
                                 "async def soon():\n    await asyncio.sleep(0.4); sys.stdout.write('task\\n')\n"
                                 "threading.Thread(target=later).start()\nkept = asyncio.create_task(soon())")
        request = messages[0]["of"]
        late = self.run_cell("1")
        while text(late).count("\n") < 2:
            late.append(self.kernel.receive())
        self.assertEqual(sorted(text(late).split()), ["task", "thread"])
        self.assertEqual({m["of"] for m in late if m["type"] == "stream"}, {request})

    def test_programs_find_no_descriptor_of_the_kernel(self):
        self.assertEqual(text(self.run_cell(
            "print(subprocess.run('ls -l /proc/self/fd | grep -c socket', shell=True, capture_output=True, text=True).stdout)")).strip(), "0")
        self.assertEqual(text(self.run_cell("print([n for n in os.environ if n.startswith('CELLHOLD_S')])")), "[]\n")


class Ends(unittest.TestCase):
    def test_a_shutdown_is_answered(self):
        kernel = Kernel()
        kernel.run("import atexit; atexit.register(print, 'at exit')")
        kernel.send(CONTROL, "shutdown_request", {"restart": False})
        found = []
        with self.assertRaises(EOFError):
            while True:
                found.append(kernel.receive())
        self.assertIn("shutdown_reply", [m["type"] for m in found])
        self.assertEqual(kernel.close(), 0)

    def test_the_end_of_the_stream_ends_the_kernel(self):
        kernel = Kernel()
        self.assertEqual(kernel.close(), 0)

    def test_the_end_of_the_stream_ends_the_kernel_after_its_cell(self):
        for code in ("import time; time.sleep(2)", "input('nobody answers')"):
            kernel = Kernel()
            kernel.send(SHELL, "execute_request", {"code": code, "silent": False, "store_history": True, "allow_stdin": True,
                                                   "user_expressions": {}, "stop_on_error": False})
            while kernel.receive()["type"] not in ("execute_input", "input_request"):
                pass
            self.assertEqual(kernel.close(), 0)

    def test_a_control_request_that_comes_during_an_abort_is_answered(self):
        kernel = Kernel()
        for i in range(30):
            request = kernel.send(SHELL, "execute_request", {
                "code": "import time; time.sleep(0.02); 1/0", "silent": False, "store_history": True, "allow_stdin": False,
                "user_expressions": {}, "stop_on_error": True})
            time.sleep(0.001 * i)
            info = kernel.send(CONTROL, "kernel_info_request", {})
            waiting = {request, info}
            while waiting:
                message = kernel.receive()
                if message["channel"] in ("shell", "control"):
                    waiting.discard(message["of"])
        self.assertEqual(kernel.close(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
