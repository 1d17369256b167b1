package raw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane"
	inns "github.com/warrenvpn/warren/dataplane/internal/netns"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// way is three namespaces in a row: ours, a router's, the peer's. Only 1400 bytes fit the second link. The router refuses what
// goes to gone.
type way struct{ near, router, far string }

const farMTU = 1400

// family is a way's addresses. The peer has two: a test may listen on one and not on the other.
type family struct {
	name                         string
	near, routerNear             string
	routerFar, peer, other, gone string
	bits, hostBits               int
	unreachable, noProtocol      string // what the kernel calls the errors
	overhead                     int
}

var families = []family{
	{"IPv4", "192.0.2.1", "192.0.2.254", "198.51.100.254", "198.51.100.1", "198.51.100.2", "203.0.113.1", 24, 32,
		"no route to host", "protocol not available", 20},
	{"IPv6", "2001:db8:1::1", "2001:db8:1::fe", "2001:db8:2::fe", "2001:db8:2::1", "2001:db8:2::2", "2001:db8:3::1", 64, 128,
		"network is unreachable", "protocol error", 40},
}

func newWay(t *testing.T) *way {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	w := &way{namespace(t, "a"), namespace(t, "r"), namespace(t, "b")}
	for _, ns := range []string{w.near, w.router, w.far} {
		// A router asks for no neighbour as long as its link-local address might be a duplicate, and then gives up.
		in(t, ns, func() error {
			return errors.Join(write("ipv6/conf/all/accept_dad", "0"), write("ipv6/conf/default/accept_dad", "0"))
		})
	}
	in(t, w.router, func() error {
		return errors.Join(
			write("ipv4/ip_forward", "1"), write("ipv6/conf/all/forwarding", "1"),
			write("ipv4/icmp_ratelimit", "0"), write("ipv6/icmp/ratelimit", "0"), // errors as often as there is a reason
			veth("near", w.near), veth("far", w.far))
	})
	in(t, w.far, func() error { return write("ipv4/icmp_ratelimit", "0") })
	in(t, w.far, func() error { return write("ipv6/icmp/ratelimit", "0") })
	for _, f := range families {
		configure(t, w.near, "near", 1500, f.bits, f.near)
		configure(t, w.router, "near", 1500, f.bits, f.routerNear)
		configure(t, w.router, "far", farMTU, f.bits, f.routerFar)
		configure(t, w.far, "far", farMTU, f.bits, f.peer, f.other)
		route(t, w.near, &netlink.Route{Dst: prefix(f.peer, f.bits), Gw: net.ParseIP(f.routerNear)})
		route(t, w.near, &netlink.Route{Dst: prefix(f.gone, f.bits), Gw: net.ParseIP(f.routerNear)})
		route(t, w.far, &netlink.Route{Dst: prefix(f.near, f.bits), Gw: net.ParseIP(f.routerFar)})
		route(t, w.router, &netlink.Route{Dst: prefix(f.gone, f.bits), Type: unix.RTN_UNREACHABLE})
	}
	return w
}

// namespace makes one that goes with the test.
func namespace(t *testing.T, what string) string {
	t.Helper()
	name := fmt.Sprintf("wraw%d%s", os.Getpid(), what)
	err := inns.Do("/proc/self/ns/net", func() error { // on a thread that finds back
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		h, err := netns.NewNamed(name)
		if err != nil {
			return err
		}
		return errors.Join(h.Close(), netns.Set(home))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.DeleteNamed(name) })
	return name
}

func in(t *testing.T, ns string, f func() error) {
	t.Helper()
	if err := inns.Do(ns, f); err != nil {
		t.Fatal(err)
	}
}

func write(key, value string) error {
	return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
}

// veth makes a pair: one end here, the other of the same name in a namespace.
func veth(name, ns string) error {
	h, err := netns.GetFromName(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name, PeerNamespace: netlink.NsFd(int(h))})
}

func configure(t *testing.T, ns, dev string, mtu, bits int, addrs ...string) {
	t.Helper()
	in(t, ns, func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		errs := []error{netlink.LinkSetMTU(link, mtu), netlink.LinkSetUp(link)}
		for _, a := range addrs {
			ip := &net.IPNet{IP: net.ParseIP(a), Mask: prefix(a, bits).Mask}
			errs = append(errs, netlink.AddrAdd(link, &netlink.Addr{IPNet: ip, Flags: unix.IFA_F_NODAD}))
		}
		return errors.Join(errs...)
	})
}

func route(t *testing.T, ns string, r *netlink.Route) {
	t.Helper()
	in(t, ns, func() error { return netlink.RouteAdd(r) })
}

func prefix(addr string, bits int) *net.IPNet {
	p := netip.PrefixFrom(netip.MustParseAddr(addr), bits).Masked()
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(bits, p.Addr().BitLen())}
}

func openIn(t *testing.T, ns, local string, queues int) *Socket {
	t.Helper()
	s, err := Open(Config{Local: netip.MustParseAddr(local), NetNS: ns, Queues: queues})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// provoke sends frames to an address until the receiver reports an error that is about them, and returns it. Errors about
// others are left aside. The receiver is free again then.
func provoke(t *testing.T, s *Socket, r dataplane.Receiver, to string, spi uint32, size int, df bool) dataplane.PathError {
	t.Helper()
	return provokeWith(t, s, r, spi, func() []dataplane.Frame { return frames(s, to, spi, 1, size, df) })
}

func provokeWith(t *testing.T, s *Socket, r dataplane.Receiver, spi uint32, fresh func() []dataplane.Frame) dataplane.PathError {
	t.Helper()
	told, stop := make(chan dataplane.PathError, 1), make(chan struct{})
	defer close(stop)
	go func() {
		var rx dataplane.Rx
		for r.Recv(&rx) == nil {
			for _, e := range rx.Errors {
				if len(e.Quote) >= 4 && binary.BigEndian.Uint32(e.Quote) == spi {
					e.Quote = append([]byte(nil), e.Quote...)
					told <- e
					return
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	sender, deadline := s.NewSender(), time.After(patience)
	for {
		sender.Send(fresh())
		select {
		case e := <-told:
			return e
		case <-deadline:
			t.Fatalf("no error about SPI %d", spi)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestErrorsOnTheWay: what routers and peers say by ICMP and ICMPv6 about our packets comes with the peer, the MTU and the
// beginning of the ESP packet, from the sockets that set DF and from the one that does not, and it comes to every worker.
func TestErrorsOnTheWay(t *testing.T) {
	w := newWay(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			s := openIn(t, w.near, f.near, 2)
			peer := openIn(t, w.far, f.peer, 1)
			for i, c := range []struct {
				what, to string
				size     int
				df       bool
				mtu      int
				code     string
			}{
				{"packet too big", f.peer, farMTU, true, farMTU, "message too long"},
				{"one byte too big", f.peer, farMTU - f.overhead + 1, true, farMTU, "message too long"},
				{"unreachable", f.gone, 100, true, 0, f.unreachable},
				{"unreachable, DF clear", f.gone, 100, false, 0, f.unreachable},
				{"nobody speaks ESP", f.other, 100, true, 0, f.noProtocol},
			} {
				for q, r := range s.Receivers() {
					spi := uint32(1000 + 10*i + q)
					e := provoke(t, s, r, c.to, spi, c.size, c.df)
					want := netip.AddrPortFrom(netip.MustParseAddr(c.to), 0)
					if e.Remote != want || e.MTU != c.mtu || e.Code != c.code {
						t.Errorf("%s, worker %d: %v, MTU %d, %q; want %v, %d, %q", c.what, q, e.Remote, e.MTU, e.Code, want, c.mtu, c.code)
					}
					if len(e.Quote) < 8 || binary.BigEndian.Uint32(e.Quote[4:]) != 0 {
						t.Errorf("%s: quotes % x", c.what, e.Quote)
					}
				}
			}
			looksLikeIP(t, s, f)
			fits(t, s, peer, f)
		})
	}
}

// looksLikeIP: an ESP packet that could be taken for an IPv4 header of protocol 50 is quoted from its first byte all the same.
func looksLikeIP(t *testing.T, s *Socket, f family) {
	t.Helper()
	const spi = 0x45000001
	e := provokeWith(t, s, s.Receivers()[spi%2], spi, func() []dataplane.Frame {
		fs := frames(s, f.gone, spi, 1, 100, true)
		fs[0].Data[9] = protocolESP
		return fs
	})
	if len(e.Quote) < 10 || e.Quote[9] != protocolESP {
		t.Errorf("quotes % x", e.Quote)
	}
}

// fits: after all those errors no frame to a peer that is well is lost: what just fits, and with DF clear what does not.
func fits(t *testing.T, s, peer *Socket, f family) {
	t.Helper()
	sender := s.NewSender()
	for _, c := range []struct {
		size int
		df   bool
	}{{farMTU - f.overhead, true}, {farMTU + 100, false}} {
		fs := frames(s, f.peer, 9000, 3, c.size, c.df)
		sender.Send(fs)
		for i, tr := range receive(t, peer.Receivers()[0], len(fs)) {
			if fs[i].Drop != packet.None || len(tr.Data) != c.size || tr.Remote.Addr().String() != f.near {
				t.Errorf("DF %v: %v, %d bytes of %d from %v", c.df, fs[i].Drop, len(tr.Data), c.size, tr.Remote)
			}
		}
	}
}

// provokeLocal waits for what the system says itself.
func provokeLocal(t *testing.T, s *Socket) (e dataplane.PathError) {
	t.Helper()
	defer time.AfterFunc(patience, func() { _ = s.Close() }).Stop()
	for rx := (dataplane.Rx{}); !e.Local; {
		if err := s.Receivers()[0].Recv(&rx); err != nil {
			t.Fatal(err)
		}
		if n := len(rx.Errors); n > 0 {
			e = rx.Errors[n-1]
		}
	}
	return e
}

// TestTooLargeForTheLink: what our own link cannot take is refused at once with DF, which is heard of, and fragmented without.
func TestTooLargeForTheLink(t *testing.T) {
	w := newWay(t)
	for _, f := range families {
		s, peer := openIn(t, w.near, f.near, 1), openIn(t, w.router, f.routerNear, 1)
		fs := append(frames(s, f.routerNear, 700, 1, 1500, true), frames(s, f.routerNear, 701, 1, 1500, false)...)
		s.NewSender().Send(fs)
		if fs[0].Drop != packet.UnderlayTooBig || fs[1].Drop != packet.None {
			t.Errorf("%s: with DF %v, without %v", f.name, fs[0].Drop, fs[1].Drop)
		}
		heard := provokeLocal(t, s)
		if want := netip.AddrPortFrom(netip.MustParseAddr(f.routerNear), 0); heard.Remote != want || heard.MTU != 1500 {
			t.Errorf("%s: heard %+v", f.name, heard)
		}
		if got := receive(t, peer.Receivers()[0], 1); binary.BigEndian.Uint32(got[0].Data) != 701 || len(got[0].Data) != 1500 {
			t.Errorf("%s: %d bytes arrived", f.name, len(got[0].Data))
		}
		if mtu, err := s.PathMTU(netip.MustParseAddr(f.routerNear)); err != nil || mtu != 1500 {
			t.Errorf("%s: path MTU %d, %v", f.name, mtu, err)
		}
		_, _ = s.Close(), peer.Close()
	}
}
