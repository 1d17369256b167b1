//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/warrenvpn/warren/bench/lab"
)

// far is two hosts with a router between them, on whose second link only 1400 bytes fit.
type far struct {
	ends
	router *lab.Host
}

func newFar(t testing.TB, v6 bool, encap string) *far {
	t.Helper()
	l := lab.ForTest(t, "ip", "ping", "tcpdump")
	f := &far{ends: ends{lab: l, program: build(t), state: t.TempDir()}}
	hosts := map[string]**lab.Host{"a": &f.a, "r": &f.router, "b": &f.b, "ia": &f.insideA, "ib": &f.insideB}
	for name, h := range hosts {
		var err error
		if *h, err = l.Host(name); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.Connect(lab.Link{A: f.a, B: f.router, AddrsA: []string{"192.0.2.1/24", "2001:db8:1::1/64"}, AddrsB: []string{"192.0.2.254/24", "2001:db8:1::fe/64"}}))
	must(l.Connect(lab.Link{A: f.router, B: f.b, AddrsA: []string{"198.51.100.254/24", "2001:db8:2::fe/64"}, AddrsB: []string{"198.51.100.1/24", "2001:db8:2::1/64"}, MTU: 1400}))
	for _, key := range []string{"net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"} {
		_, err := f.router.Run(t.Context(), "sysctl", "-q", "-w", key)
		must(err)
	}
	must(f.a.IP("route", "add", "default", "via", "192.0.2.254"))
	must(f.a.IP("route", "add", "default", "via", "2001:db8:1::fe"))
	must(f.b.IP("route", "add", "default", "via", "198.51.100.254"))
	must(f.b.IP("route", "add", "default", "via", "2001:db8:2::fe"))
	addrs := [2]string{"192.0.2.1", "198.51.100.1"}
	if v6 {
		addrs = [2]string{"2001:db8:1::1", "2001:db8:2::1"}
	}
	f.confA, f.sockA = filepath.Join(f.state, "a.yaml"), filepath.Join(f.state, "a.sock")
	f.confB, f.sockB = filepath.Join(f.state, "b.yaml"), filepath.Join(f.state, "b.sock")
	const conf = `underlay: {addresses: ["%s"]}
vrfs:
  main: {port: {tun: warren0, netns: %q, mtu: 1500, addresses: [%s]}}
tunnels:
  peer:
    ipsec:
      remote: "%s"
      encap: %s
      static: {esp: aes128gcm16, out: {spi: %s, key: "%s"}, in: {spi: %s, key: "%s"}}
    routes: [%s]
`
	must(os.WriteFile(f.confA, fmt.Appendf(nil, conf, addrs[0], f.insideA.Namespace, "10.1.0.1/16", addrs[1], encap, spi1, key1, spi2, key2, "10.2.0.0/16"), 0o600))
	must(os.WriteFile(f.confB, fmt.Appendf(nil, conf, addrs[1], f.insideB.Namespace, "10.2.0.1/16", addrs[0], encap, spi2, key2, spi1, key1, "10.1.0.0/16"), 0o600))
	return f
}

// innerMTU asks the daemon of a.
func (f *far) innerMTU(ctx context.Context) (int, error) {
	out, err := exec.CommandContext(ctx, f.program, "tunnels", "peer", "--json", "--socket", f.sockA).Output()
	if err != nil {
		return 0, err
	}
	var ts []struct {
		InnerMTU int `json:"inner_mtu"`
	}
	if err := json.Unmarshal(out, &ts); err != nil || len(ts) != 1 {
		return 0, fmt.Errorf("%d tunnels: %v: %s", len(ts), err, out)
	}
	return ts[0].InnerMTU, nil
}

// paths are the ways to seal, with the inner MTU that each has where 1500 bytes fit, and where 1400 do.
var paths = []struct {
	name          string
	v6            bool
	encap         string
	before, after int
}{
	{"UDP over IPv4", false, "always", 1438, 1338}, {"UDP over IPv6", true, "always", 1418, 1318},
	{"ESP over IPv4", false, "never", 1446, 1346}, {"ESP over IPv6", true, "never", 1426, 1326},
}

// TestPathMTU: a router on the way says packet too big for our frames. The tunnel's MTU follows, what fits exactly crosses,
// and what is one byte longer is answered.
func TestPathMTU(t *testing.T) {
	for _, c := range paths {
		t.Run(c.name, func(t *testing.T) {
			f := newFar(t, c.v6, c.encap)
			ctx := limit(t)
			pa := f.start(t, ctx, f.a, f.insideA, f.confA, f.sockA, "10.2.0.0/16")
			pb := f.start(t, ctx, f.b, f.insideB, f.confB, f.sockB, "10.1.0.0/16")
			if err := f.insideA.WaitReachable(ctx, "10.2.0.1"); err != nil {
				t.Fatalf("%v\na: %s\nb: %s", err, pa.Log(), pb.Log())
			}
			if mtu, err := f.innerMTU(ctx); err != nil || mtu != c.before {
				t.Fatalf("inner MTU %d, %v; want %d", mtu, err, c.before)
			}
			err := lab.WaitFor(ctx, "the router's message to be heard", func() error {
				if _, err := f.insideA.Ping(ctx, "10.2.0.1", 1, "-W", "0.2", "-M", "do", "-s", fmt.Sprint(c.before-28)); err != nil {
					return err
				}
				mtu, err := f.innerMTU(ctx)
				if err == nil && mtu != c.after {
					err = fmt.Errorf("inner MTU %d, want %d", mtu, c.after)
				}
				return err
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, pa.Log())
			}
			if r, err := f.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "do", "-s", fmt.Sprint(c.after-28)); err != nil || r.Received != 1 {
				t.Errorf("%d bytes: %+v %v", c.after, r, err)
			}
			if r, err := f.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "do", "-s", fmt.Sprint(c.after+1-28)); err == nil && r.Received > 0 {
				t.Errorf("%d bytes crossed: %+v", c.after+1, r)
			}
			// Without DF everything crosses, in pieces.
			if r, err := f.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "dont", "-s", "3000"); err != nil || r.Received != 1 {
				t.Errorf("3000 bytes in fragments: %+v %v", r, err)
			}
		})
	}
}

// TestPathShrinksUnderTCP: amid a TCP stream the second link begins to take 100 bytes less. The router says so for sealed frames, the
// sender inside is told, and the stream goes on.
func TestPathShrinksUnderTCP(t *testing.T) {
	for _, c := range paths {
		t.Run(c.name, func(t *testing.T) {
			f := newFar(t, c.v6, c.encap)
			ctx := limit(t)
			f.takes(t, 1500)
			pa := f.start(t, ctx, f.a, f.insideA, f.confA, f.sockA, "10.2.0.0/16")
			pb := f.start(t, ctx, f.b, f.insideB, f.confB, f.sockB, "10.1.0.0/16")
			if err := f.insideA.WaitReachable(ctx, "10.2.0.1"); err != nil {
				t.Fatalf("%v\na: %s\nb: %s", err, pa.Log(), pb.Log())
			}
			stream := newTransfer(t, f.insideA, f.insideB, "10.1.0.1", "10.2.0.1", transferSize)
			stream.inMiddle(t, ctx, transferPart, func() {
				if mtu, err := f.innerMTU(ctx); err != nil || mtu != c.before {
					t.Errorf("inner MTU %d, %v; want %d", mtu, err, c.before)
				}
				f.takes(t, 1400)
			})
			if mtu, err := f.innerMTU(ctx); err != nil || mtu != c.after {
				t.Errorf("inner MTU %d, %v; want %d\n%s", mtu, err, c.after, pa.Log())
			}
			f.stop(t, pa, pb)
		})
	}
}

// takes sets what the router's second link takes.
func (f *far) takes(t testing.TB, mtu int) {
	t.Helper()
	for h, dev := range map[*lab.Host]string{f.router: "eth1", f.b: "eth0"} {
		if err := h.IP("link", "set", dev, "mtu", fmt.Sprint(mtu)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDontFragmentBit: what a frame on the wire has for DF is the inner packet's, or what the configuration says.
func TestDontFragmentBit(t *testing.T) {
	for _, encap := range []string{"always", "never"} {
		for _, policy := range []string{"copy", "set", "clear"} {
			t.Run(encap+" "+policy, func(t *testing.T) {
				f := newFar(t, false, encap)
				ctx := limit(t)
				edit(t, f.confA, "encap: "+encap, "encap: "+encap+"\n      df: "+policy)
				f.start(t, ctx, f.a, f.insideA, f.confA, f.sockA, "10.2.0.0/16")
				f.start(t, ctx, f.b, f.insideB, f.confB, f.sockB, "10.1.0.0/16")
				if err := f.insideA.WaitReachable(ctx, "10.2.0.1"); err != nil {
					t.Fatal(err)
				}
				f.flagged(t, ctx, policy)
				f.tooLong(t, ctx, policy)
			})
		}
	}
}

// flagged sends packets with and without DF that fit, and looks at their frames.
func (f *far) flagged(t testing.TB, ctx context.Context, policy string) {
	t.Helper()
	wholeFrames(t, f.a)
	capture, err := f.a.Capture(ctx, "eth0", "src", "192.0.2.1", "and", "(udp port 4500 or proto 50)")
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]bool{} // by frame length
	for i, df := range []string{"do", "dont", "do", "dont"} {
		size := 400 + 100*i
		if r, err := f.insideA.Ping(ctx, "10.2.0.1", 2, "-M", df, "-s", fmt.Sprint(size)); err != nil || r.Received != 2 {
			t.Fatalf("%+v %v", r, err)
		}
		want[size] = df == "do" && policy == "copy" || policy == "set"
	}
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	seen := dontFragment(t, capture.Path())
	if len(seen) != 8 {
		t.Fatalf("%d frames, want 8", len(seen))
	}
	for _, s := range seen {
		size := s.length / 100 * 100 // all headers together are less than 100 bytes
		if df, ok := want[size]; !ok || df != s.df {
			t.Errorf("a frame of %d bytes has DF %v, want %v (%v)", s.length, s.df, df, ok)
		}
	}
}

// tooLong sends what the router's second link does not take. A frame that has DF is answered, and after that the packet is
// fragmented before it is sealed; one that has not is fragmented by the router, and nobody learns anything.
func (f *far) tooLong(t testing.TB, ctx context.Context, policy string) {
	t.Helper()
	before, err := f.innerMTU(ctx)
	if err != nil {
		t.Fatal(err)
	}
	crossed, patience := policy != "set", "0.5"
	if crossed {
		patience = "10"
	}
	r, err := f.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "dont", "-s", fmt.Sprint(before-28), "-W", patience)
	if err != nil || crossed != (r.Received == 1) {
		t.Errorf("%d bytes without DF: %+v %v", before, r, err)
	}
	after := before
	if policy == "set" {
		after -= 100
	}
	err = lab.WaitFor(ctx, "the path's MTU", func() error {
		if mtu, err := f.innerMTU(ctx); err != nil || mtu != after {
			return fmt.Errorf("inner MTU %d, %v, want %d", mtu, err, after)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if r, err := f.insideA.Ping(ctx, "10.2.0.1", 1, "-M", "dont", "-s", fmt.Sprint(before-28)); err != nil || r.Received != 1 {
		t.Errorf("%d bytes without DF, the second time: %+v %v", before, r, err)
	}
}

// frame is the outer header of one that was captured.
type frame struct {
	length int
	df     bool
}

func dontFragment(t testing.TB, path string) (seen []frame) {
	t.Helper()
	for _, p := range captured(t, path) {
		if ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
			seen = append(seen, frame{int(ip.Length), ip.Flags&layers.IPv4DontFragment != 0})
		}
	}
	return seen
}
