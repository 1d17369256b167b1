package bfd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Port is where control packets go (RFC 5881 section 4).
const Port = 3784

// firstSource is the lowest source port (RFC 5881 section 4).
const firstSource = 49152

// UDP is a Transport over sockets of the kernel, in the network namespace of the thread that opened it.
type UDP struct {
	in  *net.UDPConn
	out *net.UDPConn
}

// ListenUDP opens port 3784 of a local address, which may be unspecified, and a socket to send from.
func ListenUDP(local netip.Addr) (*UDP, error) {
	in, err := listen(netip.AddrPortFrom(local, Port))
	if err != nil {
		return nil, fmt.Errorf("listen for BFD: %w", err)
	}
	for range 32 {
		var out *net.UDPConn
		out, err = listen(netip.AddrPortFrom(local, firstSource+uint16(rand.N(1<<16-firstSource))))
		if err == nil {
			return &UDP{in: in, out: out}, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	in.Close()
	return nil, fmt.Errorf("open a socket to send BFD from: %w", err)
}

func listen(at netip.AddrPort) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = options(int(fd), at.Addr().Is6()) })
		return errors.Join(err, failed)
	}}
	network := "udp4"
	if at.Addr().Is6() {
		network = "udp6"
	}
	c, err := config.ListenPacket(context.Background(), network, at.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// options has packets leave with TTL 255 and says theirs of those that arrive.
func options(fd int, is6 bool) error {
	list := [][3]int{{unix.IPPROTO_IP, unix.IP_TTL, 255}, {unix.IPPROTO_IP, unix.IP_RECVTTL, 1},
		{unix.IPPROTO_IP, unix.IP_TOS, 0xc0}} // DSCP CS6, as routing protocols have it
	if is6 {
		list = [][3]int{{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255}, {unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 0xc0}}
	}
	for _, o := range list {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// Send sends a packet to port 3784.
func (u *UDP) Send(to netip.Addr, packet []byte) error {
	_, err := u.out.WriteToUDPAddrPort(packet, netip.AddrPortFrom(to, Port))
	return err
}

// Run hands over what arrives until the context ends, and closes the sockets.
func (u *UDP) Run(ctx context.Context, receive func(from netip.Addr, packet []byte, ttl uint8) Drop) error {
	var once sync.Once
	shut := func() { once.Do(func() { u.in.Close(); u.out.Close() }) }
	stop := context.AfterFunc(ctx, shut)
	defer stop()
	defer shut()
	packet, control := make([]byte, 2048), make([]byte, 128)
	for {
		n, c, _, from, err := u.in.ReadMsgUDPAddrPort(packet, control)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // an ICMP message to what we sent; the socket lives on
			continue
		}
		receive(from.Addr().Unmap(), packet[:n], ttlOf(control[:c]))
	}
}

// ttlOf is 0, which nobody accepts, if the kernel does not say.
func ttlOf(control []byte) uint8 {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		is4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TTL
		is6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT
		if (is4 || is6) && len(m.Data) >= 4 {
			return uint8(min(binary.NativeEndian.Uint32(m.Data), 255))
		}
	}
	return 0
}
