package sock

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/internal/netns"
)

// DefaultBuffer is how large the sockets' buffers are, in bytes, where nothing else was asked for.
const DefaultBuffer = 8 << 20

// Place says where sockets are made, and how.
type Place struct {
	V6 bool
	// Device binds to a network device; Mark is the packets' fwmark, 0 for none. Both need CAP_NET_RAW or CAP_NET_ADMIN.
	Device string
	Mark   uint32
	// NetNS is the network namespace that the sockets are born in; "" for the process's own.
	NetNS string
	// Buffer is the size of the buffers in bytes; 0 for DefaultBuffer.
	Buffer int
}

// Option is an integer option of a socket.
type Option struct{ Level, Name, Value int }

// Set sets the options on a socket.
func Set(fd int, options ...Option) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.Level, o.Name, o.Value); err != nil {
			return fmt.Errorf("set socket option %d/%d: %w", o.Level, o.Name, err)
		}
	}
	return nil
}

// Socket makes a socket of the place's family. It must be called within Do.
func (p *Place) Socket(kind, protocol int) (int, error) {
	family := unix.AF_INET
	if p.V6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	return fd, nil
}

// Do runs f in the place's namespace.
func (p *Place) Do(f func() error) error { return netns.Do(p.NetNS, f) }

// Prepare gives a socket its device, mark and buffers, has it report ICMP errors, the traffic class and what it had no room for, and
// binds it.
// IPv4 has no don't-fragment flag for a datagram, only for a socket: with clearDF it is clear and the kernel fragments,
// else it is set and the kernel's own idea of the path MTU is ignored. IPv6's counterpart is fragmentation at the source.
func (p *Place) Prepare(fd int, at netip.AddrPort, clearDF bool) error {
	if err := p.Put(fd); err != nil {
		return err
	}
	p.buffers(fd)
	discover, dontFragment := unix.IP_PMTUDISC_PROBE, 1
	if clearDF {
		// Not IPv4's IP_PMTUDISC_DONT: for whichever socket of the port the kernel finds by hash, it would keep packet-too-big
		// to itself. IPv6 in turn reports nothing with IPV6_PMTUDISC_OMIT.
		discover, dontFragment = unix.IP_PMTUDISC_OMIT, 0
		if p.V6 {
			discover = unix.IPV6_PMTUDISC_DONT
		}
	}
	options := []Option{
		{unix.IPPROTO_IP, unix.IP_RECVERR, 1},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover},
	}
	if p.V6 {
		options = []Option{ // IPV6_PMTUDISC_* have the same values
			{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, discover},
			{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, dontFragment},
		}
	}
	options = append(options, Option{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1})
	if err := Set(fd, options...); err != nil {
		return err
	}
	return Bind(fd, at)
}

// Put gives a socket its device and mark, which come before its address: what addresses there are depends on the device, and who
// has a port on another one is not in the way.
func (p *Place) Put(fd int) error {
	if p.Device != "" {
		if err := unix.BindToDevice(fd, p.Device); err != nil {
			return fmt.Errorf("bind to device %q: %w", p.Device, err)
		}
	}
	if p.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)); err != nil {
			return fmt.Errorf("set mark %d, which needs root (CAP_NET_ADMIN); without `mark` it takes no privilege: %w", p.Mark, err)
		}
	}
	return nil
}

// buffers asks for large ones, beyond the system's limit where we may.
func (p *Place) buffers(fd int) {
	size := p.Buffer
	if size == 0 {
		size = DefaultBuffer
	}
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], size) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], size)
		}
	}
}

// PathMTU returns the MTU, in bytes of IP packet, of the route that a socket in this place finds to remote.
func (p *Place) PathMTU(remote netip.Addr) (mtu int, err error) {
	err = p.Do(func() error {
		fd, err := p.Socket(unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := p.Put(fd); err != nil {
			return err
		}
		if err := unix.Connect(fd, sockaddr(netip.AddrPortFrom(remote, 9))); err != nil {
			return fmt.Errorf("find way: %w", err)
		}
		level, name := unix.IPPROTO_IP, unix.IP_MTU
		if p.V6 {
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

// Bind binds a socket and says in words what the usual refusals mean.
func Bind(fd int, at netip.AddrPort) error {
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

// Local returns the address that a socket is bound to.
func Local(fd int) (netip.AddrPort, error) {
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
