import platform, socket, subprocess, time
def program(line):
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr
begun, name = time.monotonic(), socket.gethostname()
print('its name', socket.gethostbyname(name))
print('names agree', {name, platform.node(), platform.uname().node, program('hostname')} == {name})
print('addresses', sorted({x[4][0] for x in socket.getaddrinfo(name, 80)}))
print('localhost', socket.gethostbyname('localhost'), sorted({x[4][0] for x in socket.getaddrinfo('localhost', 80)}))
print('full name', socket.gethostbyname(socket.getfqdn()), program('hostname -f') == name, program('hostname -i'))
print('libc', program('getent hosts $(hostname)').split()[0], program('getent hosts localhost'))
with socket.create_server((name, 0)) as server, socket.create_connection((name, server.getsockname()[1]), timeout=5):
    print('a server on its name is reached by it')
try:
    socket.gethostbyname('nonesuch.example')
except socket.gaierror:
    print('no other name has an address')
print('at once', time.monotonic() - begun < 5)
