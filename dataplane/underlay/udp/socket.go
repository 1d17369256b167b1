package udp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/netns"
	"github.com/warrenvpn/warren/dataplane/internal/wait"
)

// Config says where the underlay sends from.
type Config struct {
	// Local is the address and port; an unspecified address takes all of its family, port 0 lets the system choose.
	Local netip.AddrPort
	// Device binds to a network device; Mark is the packets' fwmark, 0 for none. Both need CAP_NET_RAW or CAP_NET_ADMIN.
	Device string
	Mark   uint32
	// NetNS is the network namespace that the sockets are born in; "" for the process's own.
	NetNS string
	// Queues is how many workers receive; at least 1.
	Queues int
	// Buffer is the size of the sockets' buffers in bytes; 0 for 8 MiB.
	Buffer int
	// Logger is told, once, what the kernel lacks; nil discards.
	Logger *slog.Logger
	// lacks pretends for tests that the kernel lacks something.
	lacks lacks
}

type lacks struct{ gso, gro, steering bool }

const defaultBuffer = 8 << 20

// Socket is a UDP underlay.
type Socket struct {
	cfg   Config
	log   *slog.Logger
	local netip.AddrPort
	v6    bool
	waker *wait.Waker
	fds   []int // one for each queue
	// fragmenting is the socket that leaves DF clear, or -1.
	fragmenting int
	gro         bool
	gso         atomic.Bool
	receivers   []dataplane.Receiver
	keepalives  atomic.Uint64

	closed atomic.Bool
	mu     sync.Mutex
	users  []*sync.Mutex // one for each receiver and sender, held while it uses the descriptors
}

// Open opens the sockets.
func Open(cfg Config) (*Socket, error) {
	s := &Socket{cfg: cfg, log: cfg.Logger, v6: cfg.Local.Addr().Is6(), fragmenting: -1}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.Queues < 1 {
		s.cfg.Queues = 1
	}
	if s.cfg.Buffer == 0 {
		s.cfg.Buffer = defaultBuffer
	}
	var err error
	if s.waker, err = wait.NewWaker(); err != nil {
		return nil, fmt.Errorf("open UDP underlay: %w", err)
	}
	if err = netns.Do(cfg.NetNS, s.open); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open UDP underlay on %v: %w", cfg.Local, err)
	}
	for i, fd := range s.fds {
		errors := -1
		if i == 0 {
			errors = s.fragmenting
		}
		s.receivers = append(s.receivers, newReceiver(s, fd, errors))
	}
	return s, nil
}

// open makes the sockets. It runs in the configured namespace.
func (s *Socket) open() error {
	at, err := s.reserve()
	if err != nil {
		return err
	}
	for range s.cfg.Queues {
		fd, err := s.socket(at, false)
		if err != nil {
			return err
		}
		s.fds = append(s.fds, fd)
	}
	if s.local, err = localOf(s.fds[0]); err != nil {
		return err
	}
	s.gso.Store(!s.cfg.lacks.gso && unix.SetsockoptInt(s.fds[0], unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil)
	if !s.gso.Load() {
		s.log.Info("kernel has no UDP segmentation offload, each frame costs a copy through the stack", "underlay", s.Name())
	}
	if !s.gro {
		s.log.Info("kernel has no UDP receive offload, each datagram is received by itself", "underlay", s.Name())
	}
	if s.cfg.lacks.steering || steer(s.fds[0], s.cfg.Queues) != nil {
		s.log.Info("kernel cannot steer datagrams to workers: flows are spread by hash, and outer packets always carry DF", "underlay", s.Name())
		return nil
	}
	// Last, so that its place in the group is one that the steering program never names.
	s.fragmenting, err = s.socket(s.local, true)
	return err
}

// reserve finds out whether the address is free. Sockets that share a port (SO_REUSEPORT) would not notice another
// engine of the same user on it and take half of its datagrams.
func (s *Socket) reserve() (netip.AddrPort, error) {
	fd, err := unix.Socket(s.family(), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	if s.v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err := bind(fd, s.cfg.Local); err != nil {
		return netip.AddrPort{}, err
	}
	return localOf(fd)
}

func (s *Socket) family() int {
	if s.v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// socket makes one socket of the group with all its options.
func (s *Socket) socket(at netip.AddrPort, fragmenting bool) (fd int, err error) {
	fd, err = unix.Socket(s.family(), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return -1, fmt.Errorf("share port: %w", err)
	}
	if err = s.place(fd); err != nil {
		return -1, err
	}
	s.buffers(fd)
	if err = s.options(fd, fragmenting); err != nil {
		return -1, err
	}
	return fd, bind(fd, at)
}

// place sets device and mark.
func (s *Socket) place(fd int) error {
	if s.cfg.Device != "" {
		if err := unix.BindToDevice(fd, s.cfg.Device); err != nil {
			return fmt.Errorf("bind to device %q: %w", s.cfg.Device, err)
		}
	}
	if s.cfg.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(s.cfg.Mark)); err != nil {
			return fmt.Errorf("set mark %d, which needs CAP_NET_ADMIN: %w", s.cfg.Mark, err)
		}
	}
	return nil
}

// buffers asks for large ones, beyond the system's limit where we may.
func (s *Socket) buffers(fd int) {
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], s.cfg.Buffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], s.cfg.Buffer)
		}
	}
}

func (s *Socket) options(fd int, fragmenting bool) error {
	type option struct{ level, name, value int }
	want := []option{
		{unix.IPPROTO_IP, unix.IP_RECVTOS, 1},
		{unix.IPPROTO_IP, unix.IP_RECVERR, 1},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
	}
	if fragmenting {
		want[2].value = unix.IP_PMTUDISC_DONT
	}
	if s.v6 {
		want = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
			{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1},
		}
		if fragmenting {
			want[3].value, want[4].value = unix.IPV6_PMTUDISC_DONT, 0
		}
	}
	for _, o := range want {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set socket option %d/%d: %w", o.level, o.name, err)
		}
	}
	if !fragmenting {
		s.gro = !s.cfg.lacks.gro && unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	}
	return nil
}

// bind says in words what the usual refusals mean.
func bind(fd int, at netip.AddrPort) error {
	err := unix.Bind(fd, sockaddr(at))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("port %d of %v is in use by another program: %w", at.Port(), at.Addr(), err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%v is not an address of this host: %w", at.Addr(), err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("port %d is for root; take one from 1024 up: %w", at.Port(), err)
	}
	return fmt.Errorf("bind: %w", err)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func localOf(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find own address: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("find own address: unexpected %T", sa)
}

// Name implements dataplane.Underlay.
func (s *Socket) Name() string { return "udp " + s.local.String() }

// Local implements dataplane.Underlay.
func (s *Socket) Local() netip.AddrPort { return s.local }

// Encap implements dataplane.Underlay.
func (s *Socket) Encap() dataplane.Encap { return dataplane.Encap{IPv6: s.v6, UDP: true} }

// Receivers implements dataplane.Underlay.
func (s *Socket) Receivers() []dataplane.Receiver { return s.receivers }

// Keepalives returns how many NAT keepalives have arrived and been swallowed.
func (s *Socket) Keepalives() uint64 { return s.keepalives.Load() }

// PathMTU implements dataplane.Underlay: the MTU of the route that a connected socket finds.
func (s *Socket) PathMTU(remote netip.Addr) (mtu int, err error) {
	err = netns.Do(s.cfg.NetNS, func() error {
		fd, err := unix.Socket(s.family(), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make socket: %w", err)
		}
		defer unix.Close(fd)
		if err := s.place(fd); err != nil {
			return err
		}
		if err := unix.Connect(fd, sockaddr(netip.AddrPortFrom(remote, 9))); err != nil {
			return fmt.Errorf("find way: %w", err)
		}
		level, name := unix.IPPROTO_IP, unix.IP_MTU
		if s.v6 {
			level, name = unix.IPPROTO_IPV6, unix.IPV6_MTU
		}
		mtu, err = unix.GetsockoptInt(fd, level, name)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("path MTU to %v: %w", remote, err)
	}
	return mtu, nil
}

// user returns a new user's mutex. A worker takes it once a batch; nobody but Close ever contends for it.
func (s *Socket) user() *sync.Mutex {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := new(sync.Mutex)
	s.users = append(s.users, u)
	return u
}

// Close wakes every receiver and closes the sockets when no receiver or sender uses them any more: a descriptor that is
// closed under a sender might be somebody else's by the time it sends.
func (s *Socket) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.waker.Wake()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		u.Lock()
	}
	for _, fd := range append(s.fds, s.fragmenting) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	s.waker.Close()
	for _, u := range s.users {
		u.Unlock()
	}
	return nil
}
