package tun

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/internal/until"
)

// pair is two devices in two namespaces and what joins them.
type pair struct {
	ns   [2]string
	dev  [2]*Device
	cut  bool // do to packets what a tunnel does: whole packets come out, each in a slot of its own
	look func(p *packet.Packet)

	hold    sync.RWMutex // nothing is relayed while somebody has it
	supers  atomic.Int64 // super-packets that were read
	packets atomic.Int64 // packets that were written, segments counted
	refused atomic.Int64
	wg      sync.WaitGroup
}

func newPair(t testing.TB, cut bool, queues int, a, b features) *pair {
	p := &pair{cut: cut, ns: [2]string{space(t, "a"), space(t, "b")}}
	for i, lacks := range []features{a, b} {
		p.dev[i] = open(t, Config{NetNS: p.ns[i], MTU: 1400, Queues: queues, lacks: lacks,
			Addresses: prefixes(fmt.Sprintf("10.9.0.%d/24", i+1), fmt.Sprintf("fd09::%d/64", i+1))})
	}
	return p
}

// run copies all packets until the test ends, each reader with a writer of its own.
func (p *pair) run(t testing.TB) {
	for i := range p.dev {
		for _, r := range p.dev[i].Readers() {
			w := p.dev[1-i].NewWriter()
			out := packet.NewBatch(packet.MaxBatch * 2048)
			cut := new(wire.Segmenter)
			serve(t, &p.wg, r, func(pkts []packet.Packet) { p.relay(t, w.Write, out, cut, pkts) })
		}
	}
	t.Cleanup(func() {
		p.dev[0].Close()
		p.dev[1].Close()
		p.wg.Wait()
	})
}

func (p *pair) relay(t testing.TB, write func([]packet.Packet), out *packet.Batch, cut *wire.Segmenter, pkts []packet.Packet) {
	p.hold.RLock()
	defer p.hold.RUnlock()
	for i := range pkts {
		if pkts[i].Drop != packet.None {
			t.Errorf("read a packet with %v", pkts[i].Drop)
		}
		if pkts[i].Offload.GSO != wire.GSONone {
			p.supers.Add(1)
		}
	}
	send := func(pkts []packet.Packet) {
		p.packets.Add(int64(len(pkts)))
		for i := range pkts {
			if p.look != nil {
				p.look(&pkts[i])
			}
		}
		write(pkts)
		for i := range pkts {
			if pkts[i].Drop != packet.None && pkts[i].Drop != packet.NotForwardable {
				p.refused.Add(1)
			}
		}
	}
	if !p.cut {
		send(pkts)
		return
	}
	flush := func() {
		send(out.Packets())
		out.Reset()
	}
	put := func(b []byte) {
		if out.Space(len(b)) == nil {
			flush()
		}
		out.Commit(0, copy(out.Space(len(b)), b))
	}
	for i := range pkts {
		q := &pkts[i]
		if q.Offload.GSO == wire.GSONone {
			wire.CompleteChecksum(q.Bytes(), &q.Offload)
			put(q.Bytes())
			continue
		}
		if !cut.Reset(q.Buf, q.Off, q.Len, &q.Offload) {
			t.Errorf("cannot cut %+v", q.Offload)
			continue
		}
		for off, n := cut.Next(); n > 0; off, n = cut.Next() {
			put(q.Buf[off : off+n])
		}
	}
	flush()
}

// transfer sends n random bytes over TCP from the first namespace to the second and compares what arrives.
func (p *pair) transfer(t testing.TB, six bool, n int) {
	t.Helper()
	to := netip.MustParseAddrPort("10.9.0.2:5001")
	if six {
		to = netip.MustParseAddrPort("[fd09::2]:5001")
	}
	var ln *net.TCPListener
	in(t, p.ns[1], func() (err error) {
		ln, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(to))
		return err
	})
	defer ln.Close()
	var conn *net.TCPConn
	in(t, p.ns[0], func() (err error) {
		conn, err = net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
		return err
	})
	defer conn.Close()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	deadline := time.Now().Add(patience)
	conn.SetDeadline(deadline)
	sent := make(chan []byte, 1)
	go func() {
		h := sha256.New()
		if _, err := io.CopyN(io.MultiWriter(conn, h), random(seed), int64(n)); err != nil {
			t.Errorf("send: %v", err)
		}
		conn.CloseWrite()
		sent <- h.Sum(nil)
	}()
	server, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.SetDeadline(deadline)
	h := sha256.New()
	got, err := io.Copy(h, server)
	if err != nil || got != int64(n) || !bytes.Equal(h.Sum(nil), <-sent) {
		t.Errorf("%d of %d bytes arrived, %v", got, n, err)
	}
}

type randomReader struct{ *rand.Rand }

func random(seed uint64) io.Reader { return randomReader{rand.New(rand.NewPCG(seed, 2))} }

func (r randomReader) Read(b []byte) (int, error) {
	n := 0
	for ; n+8 <= len(b); n += 8 {
		binary.LittleEndian.PutUint64(b[n:], r.Uint64())
	}
	if n == 0 && len(b) > 0 {
		b[0], n = byte(r.Uint32()), 1
	}
	return n, nil
}

// received is how many packets the kernel took from a device, super-packets counted once.
func (p *pair) received(t testing.TB, i int) (n int64) {
	in(t, p.ns[i], func() error {
		l, err := netlink.LinkByName(p.dev[i].Name())
		if err == nil {
			n = int64(l.Attrs().Statistics.RxPackets)
		}
		return err
	})
	return n
}

func TestTCP(t *testing.T) {
	size := 24 << 20
	if race.Enabled || testing.Short() {
		size = 4 << 20
	}
	bare := features{vnet: true}
	for _, c := range []struct {
		name   string
		cut    bool
		queues int
		a, b   features
		joined bool
	}{
		{name: "super-packets through"},
		{name: "joined", cut: true, joined: true},
		{name: "joined, 2 queues", cut: true, queues: 2, joined: true},
		{name: "no TSO", cut: true, a: features{tso: true}, b: features{tso: true}, joined: true},
		{name: "no header at the far end", b: bare},
		{name: "no header at the far end, cut", cut: true, b: bare},
		{name: "no header", cut: true, a: bare, b: bare},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, c.cut, c.queues, c.a, c.b)
			p.run(t)
			for _, six := range []bool{false, true} {
				// How much the kernel hands over at once is its own affair, and on a busy machine can for once be little.
				for tries := 5; ; tries-- {
					p.supers.Store(0)
					p.packets.Store(0)
					before := p.received(t, 0) + p.received(t, 1)
					p.transfer(t, six, size)
					taken := p.received(t, 0) + p.received(t, 1) - before
					t.Logf("IPv6 %v: %d super-packets read, %d packets written, %d taken, %d refused", six,
						p.supers.Load(), p.packets.Load(), taken, p.refused.Load())
					if tso := !c.a.tso && !c.a.vnet; (p.supers.Load() > 20) != tso {
						t.Errorf("%d super-packets were read", p.supers.Load())
					}
					joined := taken < p.packets.Load()/2
					if joined == c.joined {
						break
					}
					if joined || tries == 1 {
						t.Errorf("%d packets written, %d taken", p.packets.Load(), taken)
						break
					}
				}
			}
		})
	}
}

// TestCorruptionIsNotHidden breaks a byte of some segments, as a faulty peer would, in front of a writer that joins.
func TestCorruptionIsNotHidden(t *testing.T) {
	p := newPair(t, true, 1, features{}, features{})
	var n, broken atomic.Int64
	p.look = func(q *packet.Packet) {
		if q.Len > 1000 && n.Add(1)%97 == 0 {
			q.Bytes()[q.Len-1] ^= 0x10
			broken.Add(1)
		}
	}
	p.run(t)
	p.transfer(t, false, 1<<20)
	p.transfer(t, true, 1<<20)
	if broken.Load() < 10 {
		t.Errorf("only %d were broken", broken.Load())
	}
}

func TestUSO(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  bool
		a, b features
	}{
		{name: "super-packets through"},
		{name: "joined", cut: true},
		{name: "far end cannot", b: features{uso: true}},
		{name: "far end has no header", b: features{vnet: true}},
		{name: "near end cannot", a: features{uso: true}, cut: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, c.cut, 1, c.a, c.b)
			p.run(t)
			for _, to := range []string{"10.9.0.2:6001", "[fd09::2]:6001"} {
				p.supers.Store(0)
				before := p.received(t, 1)
				p.datagrams(t, netip.MustParseAddrPort(to))
				if got, want := p.received(t, 1)-before < 20, !c.b.uso && !c.b.vnet; got != want {
					t.Errorf("%s: the kernel took %d packets", to, p.received(t, 1)-before)
				}
				if got, want := p.supers.Load() > 0, !c.a.uso; got != want {
					t.Errorf("%s: %d super-packets were read", to, p.supers.Load())
				}
			}
		})
	}
}

// datagrams sends 30 full and one short datagram by one call (UDP_SEGMENT) and expects each of them.
func (p *pair) datagrams(t *testing.T, to netip.AddrPort) {
	t.Helper()
	const size, count, rest = 1000, 30, 77
	var server, client *net.UDPConn
	in(t, p.ns[1], func() (err error) {
		server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(to))
		return err
	})
	defer server.Close()
	in(t, p.ns[0], func() (err error) {
		client, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	defer client.Close()
	data := fill(size*count+rest, 9)
	for i := range data {
		data[i] += byte(i / size * 31)
	}
	oob := make([]byte, unix.CmsgSpace(2))
	h := [1]unix.Cmsghdr{{Level: unix.IPPROTO_UDP, Type: unix.UDP_SEGMENT}}
	h[0].SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint64(oob, uint64(h[0].Len))
	binary.NativeEndian.PutUint32(oob[8:], uint32(h[0].Level))
	binary.NativeEndian.PutUint32(oob[12:], uint32(h[0].Type))
	binary.NativeEndian.PutUint16(oob[16:], size)
	p.hold.Lock() // or the reader might take them one by one where the kernel has to cut
	_, _, err := client.WriteMsgUDP(data, oob, nil)
	p.hold.Unlock()
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	server.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 65536)
	for i := 0; len(data) > 0; i++ {
		n, err := server.Read(b)
		if err != nil {
			t.Fatalf("datagram %d to %v: %v", i, to, err)
		}
		want := data[:min(size, len(data))]
		if !bytes.Equal(b[:n], want) {
			t.Fatalf("datagram %d to %v: %d bytes differ from %d", i, to, n, len(want))
		}
		data = data[len(want):]
	}
}

// TestQueues: flows spread over the queues, and each stays in one.
func TestQueues(t *testing.T) {
	ns := space(t, "mq")
	d := open(t, Config{NetNS: ns, Queues: 3, Addresses: prefixes("10.9.0.1/24")})
	var mu sync.Mutex
	seen := map[uint16]map[int]int{}
	total := 0
	var wg sync.WaitGroup
	for i, r := range d.Readers() {
		serve(t, &wg, r, func(pkts []packet.Packet) {
			mu.Lock()
			defer mu.Unlock()
			for k := range pkts {
				b := pkts[k].Bytes()
				if b[0]>>4 != 4 || b[9] != wire.ProtoUDP {
					continue
				}
				port := binary.BigEndian.Uint16(b[20:])
				if seen[port] == nil {
					seen[port] = map[int]int{}
				}
				seen[port][i]++
				total++
			}
		})
	}
	const flows, each = 100, 8 // hashes are random: some queue has no flow in one run of 10^17
	in(t, ns, func() error {
		for range flows {
			c, err := net.Dial("udp", "10.9.0.2:7")
			if err != nil {
				return err
			}
			for range each {
				if _, err := c.Write(make([]byte, 100)); err != nil {
					return errors.Join(err, c.Close())
				}
			}
			c.Close()
		}
		return nil
	})
	await(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return total >= flows*each
	})
	d.Close()
	wg.Wait()
	used := map[int]bool{}
	for port, queues := range seen {
		if len(queues) != 1 {
			t.Errorf("flow of port %d came by queues %v", port, queues)
		}
		for q := range queues {
			used[q] = true
		}
	}
	if len(used) != 3 || total != flows*each {
		t.Errorf("%d queues used, %d packets", len(used), total)
	}
}

func await(t testing.TB, what func() bool) {
	t.Helper()
	until.True(t, "what the test waits for", patience, what)
}
