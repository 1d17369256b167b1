package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// listenBacklog is how many connections may wait for Accept.
const listenBacklog = 4096

// DialContext connects to a numeric address and a port, as net.Dialer does: networks are tcp, tcp4, tcp6, udp, udp4 and
// udp6. Errors are *net.OpError and wrap the errno that a kernel would have given. A context that ends while connecting
// ends the attempt; later it has no effect.
func (p *Port) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return p.DialFrom(ctx, network, netip.AddrPort{}, address)
}

// DialFrom is DialContext from a local address and port of the caller's choice; either may be zero.
func (p *Port) DialFrom(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) {
	remote, err := parseAddress(network, address)
	fail := func(err error) (net.Conn, error) {
		return nil, opError("dial", network, netAddr(network, local), netAddr(network, remote), err, false)
	}
	switch {
	case err != nil:
		return fail(err)
	case !remote.Addr().IsValid():
		return fail(&net.AddrError{Err: "missing host", Addr: address})
	case remote.Addr().IsUnspecified(): // nobody would answer
		return fail(&net.AddrError{Err: "not an address of a host", Addr: address})
	case local.Addr().IsValid() && local.Addr().Is4() != remote.Addr().Is4():
		return fail(&net.AddrError{Err: "local address is of another family than", Addr: address})
	case ctx.Err() != nil:
		return fail(ctxError(ctx))
	}
	var wq waiter.Queue
	transport := tcp.ProtocolNumber
	if isUDP(network) {
		transport = udp.ProtocolNumber
	}
	ep, terr := p.stack.NewEndpoint(transport, protocolOf(remote.Addr()), &wq)
	if terr != nil {
		return fail(errorOf(terr))
	}
	if local.IsValid() || local.Port() != 0 {
		if terr := ep.Bind(fullAddress(local)); terr != nil {
			ep.Close()
			return fail(errorOf(terr))
		}
	}
	if err := p.connect(ctx, ep, &wq, fullAddress(remote)); err != nil {
		ep.Close()
		return fail(err)
	}
	var conn net.Conn
	if isUDP(network) {
		conn, err = p.newUDPConn(network, ep, &wq)
	} else {
		conn, err = p.newTCPConn(network, gonet.NewTCPConn(&wq, ep), ep)
	}
	if err != nil {
		return fail(err)
	}
	return conn, nil
}

// connect waits until the endpoint is connected or cannot be. UDP never waits.
func (p *Port) connect(ctx context.Context, ep tcpip.Endpoint, wq *waiter.Queue, to tcpip.FullAddress) error {
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	err := ep.Connect(to)
	if _, started := err.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			return ctxError(ctx)
		case <-p.done:
			return net.ErrClosed
		case <-ready:
		}
		err = ep.LastError()
	}
	if err != nil {
		return errorOf(err)
	}
	return nil
}

// Listen listens for TCP on one of the stack's addresses, or on all with an empty or unspecified one: networks are tcp,
// tcp4 and tcp6.
func (p *Port) Listen(network, address string) (net.Listener, error) {
	ep, wq, local, err := p.bind(network, address, tcp.ProtocolNumber)
	if err == nil {
		if terr := ep.Listen(listenBacklog); terr != nil {
			ep.Close()
			err = errorOf(terr)
		}
	}
	if err != nil {
		return nil, opError("listen", network, nil, netAddr(network, local), err, false)
	}
	l := newListener(p, network, ep, wq)
	if !p.register(l) {
		return nil, opError("listen", network, nil, netAddr(network, local), net.ErrClosed, true)
	}
	return l, nil
}

// ListenPacket listens for UDP on one of the stack's addresses, or on all with an empty or unspecified one: networks
// are udp, udp4 and udp6.
func (p *Port) ListenPacket(network, address string) (net.PacketConn, error) {
	ep, wq, local, err := p.bind(network, address, udp.ProtocolNumber)
	if err == nil {
		var c *udpConn
		if c, err = p.newUDPConn(network, ep, wq); err == nil {
			return c, nil
		}
	}
	return nil, opError("listen", network, nil, netAddr(network, local), err, false)
}

// bind makes an endpoint and binds it. An unspecified IPv6 address takes IPv4 too, unless the network ends in 6.
func (p *Port) bind(network, address string, transport tcpip.TransportProtocolNumber) (tcpip.Endpoint, *waiter.Queue, netip.AddrPort, error) {
	local, err := parseAddress(network, address)
	if err == nil && isUDP(network) != (transport == udp.ProtocolNumber) {
		err = net.UnknownNetworkError(network)
	}
	if err != nil {
		return nil, nil, local, err
	}
	a, proto := local.Addr(), ipv6.ProtocolNumber
	if a.Is4() || strings.HasSuffix(network, "4") {
		proto = ipv4.ProtocolNumber
	}
	wq := new(waiter.Queue)
	ep, terr := p.stack.NewEndpoint(transport, proto, wq)
	if terr != nil {
		return nil, nil, local, errorOf(terr)
	}
	if strings.HasSuffix(network, "6") {
		ep.SocketOptions().SetV6Only(true)
	}
	if terr := ep.Bind(fullAddress(local)); terr != nil {
		ep.Close()
		return nil, nil, local, errorOf(terr)
	}
	return ep, wq, local, nil
}

func isUDP(network string) bool { return strings.HasPrefix(network, "udp") }

// parseAddress reads "host:port" with a numeric host of the network's family. The address is not valid where the host
// is empty.
func parseAddress(network, address string) (netip.AddrPort, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
	default:
		return netip.AddrPort{}, net.UnknownNetworkError(network)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.LookupPort(network, service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
	}
	a, err := netip.ParseAddr(host)
	switch a = a.Unmap(); {
	case err != nil:
		return netip.AddrPort{}, &net.AddrError{Err: "not a numeric address", Addr: host}
	case a.Zone() != "":
		return netip.AddrPort{}, &net.AddrError{Err: "zones mean nothing here", Addr: host}
	case strings.HasSuffix(network, "4") && !a.Is4(), strings.HasSuffix(network, "6") && !a.Is6():
		return netip.AddrPort{}, &net.AddrError{Err: fmt.Sprintf("not an address for %s", network), Addr: host}
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}

// fullAddress is a in the stack's terms, which writes an unspecified address as none.
func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	f := tcpip.FullAddress{Port: a.Port()}
	if a.Addr().IsValid() && !a.Addr().IsUnspecified() {
		f.Addr = tcpip.AddrFromSlice(a.Addr().AsSlice())
	}
	return f
}

// netAddr is a in the net package's terms, nil where it says nothing.
func netAddr(network string, a netip.AddrPort) net.Addr {
	switch {
	case a == netip.AddrPort{}:
		return nil
	case isUDP(network):
		return net.UDPAddrFromAddrPort(a)
	}
	return net.TCPAddrFromAddrPort(a)
}
