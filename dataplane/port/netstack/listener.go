package netstack

import (
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/waiter"
)

// listener is a net.Listener over a listening endpoint.
type listener struct {
	port    *Port
	network string
	ep      tcpip.Endpoint
	wq      *waiter.Queue
	addr    net.Addr
	once    sync.Once
	closed  chan struct{}
}

func newListener(p *Port, network string, ep tcpip.Endpoint, wq *waiter.Queue) *listener {
	l := &listener{port: p, network: network, ep: ep, wq: wq, closed: make(chan struct{})}
	a, _ := ep.GetLocalAddress()
	l.addr = &net.TCPAddr{IP: unspecifiedIfEmpty(a.Addr), Port: int(a.Port)}
	return l
}

// unspecifiedIfEmpty: the stack writes an unspecified address as none, the net package as ::.
func unspecifiedIfEmpty(a tcpip.Address) net.IP {
	if a.Len() == 0 {
		return net.IPv6unspecified
	}
	return net.IP(a.AsSlice())
}

func (l *listener) Addr() net.Addr { return l.addr }

// Accept waits for a connection whose handshake is complete.
func (l *listener) Accept() (net.Conn, error) {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	l.wq.EventRegister(&entry)
	defer l.wq.EventUnregister(&entry)
	for {
		ep, wq, err := l.ep.Accept(nil)
		if err == nil {
			c, err := l.port.newTCPConn(l.network, gonet.NewTCPConn(wq, ep), ep)
			if err != nil {
				return nil, opError("accept", l.network, nil, l.addr, err, true)
			}
			return c, nil
		}
		select {
		case <-l.closed:
			return nil, opError("accept", l.network, nil, l.addr, net.ErrClosed, true)
		default:
		}
		if _, block := err.(*tcpip.ErrWouldBlock); !block {
			return nil, opError("accept", l.network, nil, l.addr, errorOf(err), false)
		}
		select {
		case <-l.closed:
		case <-ready:
		}
	}
}

// Close resets connections that nobody accepted and wakes Accept.
func (l *listener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		err = nil
		close(l.closed)
		l.port.forget(l)
		l.ep.Close()
	})
	return opError("close", l.network, nil, l.addr, err, err != nil)
}
