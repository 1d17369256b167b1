package netstack

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// maxHandshakes is how many connections to addresses that are not the stack's own may be in their handshake at a time.
const maxHandshakes = 1024

// Handler takes a connection that somebody opened to dst, whoever's address that is. It runs in a goroutine of its own
// and owns the connection.
type Handler func(dst netip.AddrPort, conn net.Conn)

// forwarding gives connections that no listener is there for to handlers.
type forwarding struct {
	port     *Port
	tcp, udp atomic.Pointer[Handler]

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// init tells the stack whom to ask. It asks only about packets that no endpoint of its own claims.
func (f *forwarding) init(p *Port) {
	f.port = p
	t := tcp.NewForwarder(p.stack, 0, maxHandshakes, f.acceptTCP)
	p.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		return f.tcp.Load() != nil && t.HandlePacket(id, pkt)
	})
	u := udp.NewForwarder(p.stack, f.acceptUDP)
	p.stack.SetTransportProtocolHandler(udp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		return f.udp.Load() != nil && u.HandlePacket(id, pkt)
	})
}

// HandleTCP has h called with every TCP connection that is opened to an address and port where nobody listens, also to
// addresses that are not the stack's own. While a handler is set the stack takes packets for any address, answers echo
// requests to it, and does not forward. nil takes the handler away; its connections stay.
func (p *Port) HandleTCP(h Handler) error { return p.forward.set(&p.forward.tcp, h) }

// HandleUDP is HandleTCP for UDP: a conversation begins with the first datagram from an address and port to another,
// and ends when the handler closes it.
func (p *Port) HandleUDP(h Handler) error { return p.forward.set(&p.forward.udp, h) }

func (f *forwarding) set(which *atomic.Pointer[Handler], h Handler) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fmt.Errorf("set a handler on %q: %w", f.port.Name(), net.ErrClosed)
	}
	if h == nil {
		which.Store(nil)
	} else {
		which.Store(&h)
	}
	any := f.tcp.Load() != nil || f.udp.Load() != nil
	if err := f.port.stack.SetPromiscuousMode(nicID, any); err != nil {
		return fmt.Errorf("take packets for any address on %q: %w", f.port.Name(), errorOf(err))
	}
	if err := f.port.stack.SetSpoofing(nicID, any); err != nil {
		return fmt.Errorf("answer from any address on %q: %w", f.port.Name(), errorOf(err))
	}
	return nil
}

// start counts a goroutine, unless the port is closing.
func (f *forwarding) start() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.wg.Add(1)
	}
	return !f.closed
}

func (f *forwarding) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.tcp.Store(nil)
	f.udp.Store(nil)
}

// wait returns once every handler has returned.
func (f *forwarding) wait() { f.wg.Wait() }

// acceptTCP runs in a goroutine that the stack started for one SYN.
func (f *forwarding) acceptTCP(r *tcp.ForwarderRequest) {
	h := f.tcp.Load()
	if h == nil || !f.start() {
		r.Complete(true)
		return
	}
	defer f.wg.Done()
	id := r.ID()
	wq := new(waiter.Queue)
	ep, err := r.CreateEndpoint(wq)
	r.Complete(err != nil)
	if err != nil {
		f.failed("tcp", id, err)
		return
	}
	ep.SocketOptions().SetDelayOption(false)
	if c, err := f.port.newTCPConn("tcp", gonet.NewTCPConn(wq, ep), ep); err == nil {
		(*h)(destination(id), c)
	}
}

// acceptUDP runs in the worker that brought the datagram, so that the datagrams behind it find the endpoint.
func (f *forwarding) acceptUDP(r *udp.ForwarderRequest) bool {
	h := f.udp.Load()
	if h == nil || !f.start() {
		return false
	}
	id := r.ID()
	wq := new(waiter.Queue)
	ep, err := r.CreateEndpoint(wq)
	if err != nil {
		f.failed("udp", id, err)
		f.wg.Done()
		return true
	}
	go func() {
		defer f.wg.Done()
		if c, err := f.port.newUDPConn("udp", ep, wq); err == nil {
			(*h)(destination(id), c)
		}
	}()
	return true
}

func (f *forwarding) failed(network string, id stack.TransportEndpointID, err tcpip.Error) {
	f.port.cfg.Logger.Debug("connection not taken", "port", f.port.Name(), "network", network,
		"from", addrPort(id.RemoteAddress, id.RemotePort), "to", destination(id), "error", errorOf(err))
}

// destination is where the other side meant to connect to.
func destination(id stack.TransportEndpointID) netip.AddrPort {
	return addrPort(id.LocalAddress, id.LocalPort)
}

func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return netip.AddrPortFrom(addr, port)
}
