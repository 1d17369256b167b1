//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/bench/lab"
	parser "github.com/warrenvpn/warren/dataplane/wire"
)

// cable joins a and b below IP, by the test's own hands: it sees every packet and may change it on its way.
type cable struct {
	mu    sync.Mutex
	tos   int // what the packets of a get as traffic class; negative for none
	seen  []outer
	fds   [2]int // towards a, towards b
	tasks sync.WaitGroup
}

// outer is what the header of a packet says.
type outer struct {
	length int // of the IP packet in bytes
	tos    uint8
}

// through replaces the link between a and b by a cable.
func (e *ends) through(t testing.TB) *cable {
	t.Helper()
	h, err := e.lab.Host("cable")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	must(e.a.IP("link", "del", "eth0"))
	must(e.lab.Connect(lab.Link{A: e.a, B: h, DevA: "eth0", AddrsA: []string{lab.PairA4 + "/24", lab.PairA6 + "/64"}}))
	must(e.lab.Connect(lab.Link{A: e.b, B: h, DevA: "eth0", AddrsA: []string{lab.PairB4 + "/24", lab.PairB6 + "/64"}}))
	wholeFrames(t, e.a, e.b)
	c := &cable{tos: -1}
	for i := range c.fds {
		must(h.Inside(func() (err error) {
			c.fds[i], err = openPacket(fmt.Sprintf("eth%d", i))
			return err
		}))
	}
	for i := range c.fds {
		c.tasks.Go(func() { c.carry(c.fds[i], c.fds[1-i], i == 0) })
	}
	t.Cleanup(func() {
		for _, fd := range c.fds {
			_ = unix.Shutdown(fd, unix.SHUT_RDWR)
			_ = unix.SetNonblock(fd, true)
		}
		c.tasks.Wait()
		for _, fd := range c.fds {
			_ = unix.Close(fd)
		}
	})
	return c
}

// wholeFrames has hosts send whole frames with whole checksums, as on a real wire: otherwise several datagrams that are sent at once
// stay one to who captures them.
func wholeFrames(t testing.TB, hosts ...*lab.Host) {
	t.Helper()
	lab.Require(t, "ethtool")
	for _, h := range hosts {
		if _, err := h.Run(t.Context(), "ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off"); err != nil {
			t.Fatal(err)
		}
	}
}

// openPacket opens a socket that sends and receives the Ethernet frames of a device.
func openPacket(device string) (int, error) {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network order
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return -1, err
	}
	timeout := unix.Timeval{Usec: 100_000} // so that the end is noticed
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index}))
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// carry sends on what arrives until the sockets are shut.
func (c *cable) carry(from, to int, ofA bool) {
	frame := make([]byte, 1<<16)
	for {
		n, sender, err := unix.Recvfrom(from, frame, 0)
		if l, ok := sender.(*unix.SockaddrLinklayer); err == nil && ok && l.Pkttype != unix.PACKET_OUTGOING {
			if ofA {
				c.look(frame[:n])
			}
			_, err = unix.Write(to, frame[:n]) // what fails is lost
		}
		if nonblocking, _ := unix.FcntlInt(uintptr(from), unix.F_GETFL, 0); nonblocking&unix.O_NONBLOCK != 0 {
			return
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.ENETDOWN) {
			return
		}
	}
}

// look notes a sealed packet of a, and changes its traffic class.
func (c *cable) look(frame []byte) {
	const ethernet = 14
	var info parser.Info
	if len(frame) < ethernet || parser.Parse(frame[ethernet:], &info, false) != parser.OK || info.Proto != parser.ProtoUDP && info.Proto != parser.ProtoESP {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	packet := frame[ethernet:]
	c.seen = append(c.seen, outer{parser.Length(packet), info.TOS})
	if c.tos < 0 {
		return
	}
	parser.SetTOS(packet, uint8(c.tos))
}

func (c *cable) set(tos int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tos = tos
}

// sent takes what was seen of a since it was last asked.
func (c *cable) sent() []outer {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = nil
	return seen
}

// class is the traffic class of packets on their way.
type class struct {
	inner uint8
	way   int   // what the outer header has when it arrives; negative: as it was sent
	out   uint8 // what the inner header has then
	drop  bool
}

const ef = 46 << 2

var classes = []class{
	{ef | parser.ECT0, -1, ef | parser.ECT0, false},
	{parser.NotECT, -1, parser.NotECT, false},
	{ef | parser.CE, -1, ef | parser.CE, false},
	{ef | parser.ECT0, ef | parser.CE, ef | parser.CE, false}, // a router that is congested
	{parser.ECT1, parser.CE, parser.CE, false},
	{ef | parser.ECT0, 8<<2 | parser.ECT0, ef | parser.ECT0, false}, // one that thinks less of it
	{ef | parser.ECT0, parser.ECT1, ef | parser.ECT1, false},
	{parser.ECT0, parser.NotECT, parser.ECT0, false},
	{ef | parser.NotECT, ef | parser.CE, 0, true}, // whom nobody could tell
	{parser.CE, parser.ECT0, parser.CE, false},
}

// TestTrafficClassOnTheWire: DSCP and ECN go out as they are inside (RFC 2983, RFC 6040 section 4.1); of what routers make of them
// congestion comes in and nothing else (RFC 6040 section 4.2).
func TestTrafficClassOnTheWire(t *testing.T) {
	for _, c := range []struct {
		encap string
		v6    bool
	}{{"always", false}, {"always", true}, {"never", false}, {"never", true}} {
		t.Run(fmt.Sprintf("encap %s, IPv6 outside %v", c.encap, c.v6), func(t *testing.T) {
			e := newEnds(t)
			lab.Require(t, "tcpdump")
			ctx := limit(t)
			w := e.through(t)
			e.outside(t, c.encap, c.v6)
			pa, pb := e.startA(t, ctx), e.startB(t, ctx)
			for _, dst := range []string{"10.2.0.1", "fd02::1"} {
				if err := e.insideA.WaitReachable(ctx, dst); err != nil {
					t.Fatalf("%v\na: %s\nb: %s", err, pa.Log(), pb.Log())
				}
				e.classed(t, ctx, w, dst)
			}
			var all []tally
			e.sockA = e.sockB
			until(t, ctx, "b to count what it drops", func() bool {
				e.ask(t, ctx, &all, "drops")
				return dropped(all, "tunnel", "ecn_invalid") >= 2
			})
			if dropped(all, "tunnel", "ecn_invalid") != 2 {
				t.Errorf("drops of b: %+v", all)
			}
			e.stop(t, pa, pb)
		})
	}
}

// outside changes what is between the ends.
func (e *ends) outside(t testing.TB, encap string, v6 bool) {
	t.Helper()
	for _, conf := range []string{e.confA, e.confB} {
		edit(t, conf, "encap: always", "encap: "+encap)
		if v6 {
			edit(t, conf, lab.PairA4, `"`+lab.PairA6+`"`)
			edit(t, conf, lab.PairB4, `"`+lab.PairB6+`"`)
		}
	}
}

// sizeOfClass is how much an echo request of the i-th class carries, in bytes; classOf is which class a packet of that length is of,
// sealed or not.
func sizeOfClass(i int) int  { return 20 + 140*i }
func classOf(length int) int { return (length - 20) / 140 }

// classed sends a packet of each class from a to b, and looks at them on the cable and at their arrival.
func (e *ends) classed(t testing.TB, ctx context.Context, w *cable, dst string) {
	t.Helper()
	capture, err := e.insideB.Capture(ctx, "warren0", "dst", "host", dst)
	if err != nil {
		t.Fatal(err)
	}
	sent, arrived := make([][]uint8, len(classes)), make([][]uint8, len(classes))
	for i, c := range classes {
		w.set(c.way)
		w.sent()
		want, patience := 1, "20"
		if c.drop {
			want, patience = 0, "0.1"
		}
		r, err := e.insideA.Ping(ctx, dst, 1, "-Q", fmt.Sprint(c.inner), "-s", fmt.Sprint(sizeOfClass(i)), "-W", patience)
		if err != nil || r.Received != want {
			t.Errorf("%s, %+v: %+v %v", dst, c, r, err)
		}
		until(t, ctx, "the packet on the cable", func() bool { // which nobody answers may be late
			for _, o := range w.sent() {
				if classOf(o.length) == i {
					sent[i] = append(sent[i], o.tos)
				}
			}
			return len(sent[i]) > 0
		})
	}
	if err := capture.Stop(); err != nil {
		t.Error(err)
	}
	for _, p := range echoRequests(t, capture.Path()) {
		if i := classOf(p.length); i < len(classes) {
			arrived[i] = append(arrived[i], p.tos)
		}
	}
	for i, c := range classes {
		want := []uint8{c.out}
		if c.drop {
			want = nil
		}
		if !slices.Equal(sent[i], []uint8{c.inner}) || !slices.Equal(arrived[i], want) {
			t.Errorf("%s, %+v: sent as %#x, arrived as %#x", dst, c, sent[i], arrived[i])
		}
	}
}

// echoRequests lists those of a capture.
func echoRequests(t testing.TB, path string) (all []outer) {
	t.Helper()
	for _, p := range captured(t, path) {
		if ip, ok := p.NetworkLayer().(*layers.IPv4); ok && p.Layer(layers.LayerTypeICMPv4) != nil {
			all = append(all, outer{int(ip.Length), ip.TOS})
		} else if ip, ok := p.NetworkLayer().(*layers.IPv6); ok && p.Layer(layers.LayerTypeICMPv6Echo) != nil {
			all = append(all, outer{len(ip.Payload) + parser.IPv6HeaderLen, ip.TrafficClass})
		}
	}
	return all
}

// captured is what a program captured into a pcap file.
func captured(t testing.TB, path string) (all []gopacket.Packet) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := pcapgo.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, _, err := r.ReadPacketData()
		if err != nil {
			return all
		}
		all = append(all, gopacket.NewPacket(data, r.LinkType(), gopacket.Default))
	}
}
