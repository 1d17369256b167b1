package udp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/internal/sock"
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

// Socket is a UDP underlay.
type Socket struct {
	cfg        Config
	place      sock.Place
	log        *slog.Logger
	local      netip.AddrPort
	socks      *sock.Sockets
	gro        bool
	gso        atomic.Bool
	receivers  []dataplane.Receiver
	keepalives atomic.Uint64
}

// Open opens the sockets.
func Open(cfg Config) (*Socket, error) {
	s := &Socket{cfg: cfg, log: cfg.Logger,
		place: sock.Place{V6: cfg.Local.Addr().Is6(), Device: cfg.Device, Mark: cfg.Mark, NetNS: cfg.NetNS, Buffer: cfg.Buffer}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.Queues < 1 {
		s.cfg.Queues = 1
	}
	var err error
	if s.socks, err = sock.New(); err != nil {
		return nil, fmt.Errorf("open UDP underlay: %w", err)
	}
	if err = s.place.Do(s.open); err != nil {
		s.socks.Close()
		return nil, fmt.Errorf("open UDP underlay on %v: %w", cfg.Local, err)
	}
	for i := range s.socks.Queues {
		s.receivers = append(s.receivers, newReceiver(s, i))
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
		s.socks.Queues = append(s.socks.Queues, fd)
	}
	first := s.socks.Queues[0]
	if s.local, err = sock.Local(first); err != nil {
		return err
	}
	s.gso.Store(!s.cfg.lacks.gso && unix.SetsockoptInt(first, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil)
	if !s.gso.Load() {
		s.log.Info("kernel has no UDP segmentation offload, each frame costs a copy through the stack", "underlay", s.Name())
	}
	if !s.gro {
		s.log.Info("kernel has no UDP receive offload, each datagram is received by itself", "underlay", s.Name())
	}
	if s.cfg.lacks.steering || steer(first, s.cfg.Queues) != nil {
		s.log.Info("kernel cannot steer datagrams to workers: flows are spread by hash, and outer packets always carry DF", "underlay", s.Name())
		return nil
	}
	// Last, so that its place in the group is one that the steering program never names.
	s.socks.ClearDF, err = s.socket(s.local, true)
	return err
}

// reserve finds out whether the address is free. Sockets that share a port (SO_REUSEPORT) would not notice another
// engine of the same user on it and take half of its datagrams.
func (s *Socket) reserve() (netip.AddrPort, error) {
	fd, err := s.place.Socket(unix.SOCK_DGRAM, 0)
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer unix.Close(fd)
	if s.place.V6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err := s.place.Put(fd); err != nil {
		return netip.AddrPort{}, err
	}
	if err := sock.Bind(fd, s.cfg.Local); err != nil {
		return netip.AddrPort{}, err
	}
	return sock.Local(fd)
}

// socket makes one socket of the group with all its options.
func (s *Socket) socket(at netip.AddrPort, clearDF bool) (int, error) {
	fd, err := s.place.Socket(unix.SOCK_DGRAM, 0)
	if err != nil {
		return -1, err
	}
	options := []sock.Option{{Level: unix.SOL_SOCKET, Name: unix.SO_REUSEPORT, Value: 1}}
	if s.place.V6 {
		options = append(options, sock.Option{Level: unix.IPPROTO_IPV6, Name: unix.IPV6_V6ONLY, Value: 1})
	} else {
		options = append(options, sock.Option{Level: unix.IPPROTO_IP, Name: unix.IP_RECVTOS, Value: 1})
	}
	if err = sock.Set(fd, options...); err == nil {
		if !clearDF {
			s.gro = !s.cfg.lacks.gro && unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
		}
		err = s.place.Prepare(fd, at, clearDF)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Name implements dataplane.Underlay.
func (s *Socket) Name() string { return "udp " + s.local.String() }

// Local implements dataplane.Underlay.
func (s *Socket) Local() netip.AddrPort { return s.local }

// Encap implements dataplane.Underlay.
func (s *Socket) Encap() dataplane.Encap { return dataplane.Encap{IPv6: s.place.V6, UDP: true} }

// Receivers implements dataplane.Underlay.
func (s *Socket) Receivers() []dataplane.Receiver { return s.receivers }

// Keepalives returns how many NAT keepalives have arrived and been swallowed.
func (s *Socket) Keepalives() uint64 { return s.keepalives.Load() }

// PathMTU implements dataplane.Underlay: the MTU of the route that a connected socket finds.
func (s *Socket) PathMTU(remote netip.Addr) (int, error) { return s.place.PathMTU(remote) }

// Close implements dataplane.Underlay.
func (s *Socket) Close() error {
	s.socks.Close()
	return nil
}
