"""An ipykernel that speaks to the agent over one stream in place of ZeroMQ's sockets.

The classes are ipykernel's own. Only the transport differs: one socket, one thread of the event loop, and one helper
thread. A small cell then needs 5 system calls in place of 145, and 2 threads in place of 10.

    wire       frames, and the queue of frames that wait to be sent
    unsent     a copy of that queue for the agent, in case the kernel dies
    session    messages as bytes, and bytes as messages
    standins   modules that replace zmq, tornado, jupyter_client and psutil while ipykernel is imported
    loop       tornado's IOLoop on top of asyncio's loop
    channels   objects in the places of ZeroMQ's sockets
    output     sys.stdout and sys.stderr
    helper     the second thread: late output, output of programs, requests while a cell runs
    forks      output of forked processes
    requests   the queue of requests
    kernel     the kernel
    app        the application that starts it
"""

running = False  # whether this process is such a kernel; set by __main__
