//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// tally is what `warren drops --json` says of a worker or a tunnel.
type tally struct {
	Where, Name string
	Drops       map[string]uint64
}

// dropped sums up what workers, or tunnels, dropped for a reason.
func dropped(all []tally, where, reason string) (n uint64) {
	for _, a := range all {
		if a.Where == where {
			n += a.Drops[reason]
		}
	}
	return n
}

// stop ends engines as SIGTERM does.
func (e *ends) stop(t testing.TB, ps ...*lab.Process) {
	t.Helper()
	for _, p := range ps {
		if err := p.Stop(); err != nil {
			t.Errorf("SIGTERM: %v\n%s", err, p.Log())
		}
	}
}

// TestPeerBehindOurOwnPort: where a route of the host leads the peer's address into our own device, sealed packets come back to us.
// Each is dropped once, as loop, and none is sealed again.
func TestPeerBehindOurOwnPort(t *testing.T) {
	for _, encap := range []string{"always", "never"} {
		t.Run(encap, func(t *testing.T) {
			e := newEnds(t)
			ctx := limit(t)
			edit(t, e.confA, fmt.Sprintf(", netns: %q", e.insideA.Namespace), "")
			edit(t, e.confA, "encap: always", "encap: "+encap)
			p := e.start(t, ctx, e.a, e.a, e.confA, e.sockA, "10.2.0.0/16", "fd02::/64", lab.PairB4+"/32")
			var all []tally
			var ts []struct {
				Out uint64 `json:"out_packets"`
			}
			for n := range uint64(10) { // one after the other: several at once may come back as one
				if r, err := e.a.Ping(ctx, "10.2.0.1", 1, "-W", "0.05"); err != nil || r.Received > 0 {
					t.Fatalf("%+v %v", r, err)
				}
				err := lab.WaitFor(ctx, "the drop to be counted", func() error {
					e.ask(t, ctx, &ts, "tunnels")
					e.ask(t, ctx, &all, "drops")
					if loops := dropped(all, "worker", "loop"); loops <= n || len(ts) != 1 || ts[0].Out != loops {
						return fmt.Errorf("%d pings were sealed as %+v packets, dropped: %+v", n+1, ts, all)
					}
					return nil
				})
				if err != nil || ts[0].Out != n+1 {
					t.Fatalf("%d pings were sealed as %+v packets: %v", n+1, ts, err)
				}
			}
			e.stop(t, p)
		})
	}
}

// TestEveryDropIsCounted by its reason, for the worker that had the packet and, where it is known, for the tunnel.
func TestEveryDropIsCounted(t *testing.T) {
	e := newEnds(t)
	ctx := limit(t)
	edit(t, e.confA, "tun: warren0,", "tun: warren0, mtu: 1500,")
	pa, pb := e.startA(t, ctx), e.startB(t, ctx)
	if err := e.insideA.IP("route", "add", "10.77.0.0/16", "dev", "warren0"); err != nil {
		t.Fatal(err)
	}
	known := `\xcf\x24\x26\xb6` // spi2
	for _, c := range []struct {
		reason string
		tunnel bool // the tunnel is known
		cause  []string
		from   *lab.Host
	}{
		{"no_route", false, []string{"bash", "-c", "echo x > /dev/udp/10.77.0.1/9; true"}, e.insideA},
		{"too_big", true, []string{"ping", "-c", "1", "-W", "0.1", "-M", "do", "-s", "1471", "10.2.0.1"}, e.insideA},
		{"not_forwardable", false, []string{"ping", "-c", "1", "-W", "0.1", "-I", "warren0", "224.0.0.99"}, e.insideA},
		{"unknown_spi", false, send(`\x01\x02\x03\x04` + strings.Repeat(`\x00`, 60)), e.b},
		{"frame_short", true, send(known + `\x00\x00\x00\x01`), e.b},
		{"bad_icv", true, send(known + `\x00\x00\xff\x01` + strings.Repeat(`\x5a`, 60)), e.b},
		{"not_control", false, send(`\x00\x00\x00\x00` + strings.Repeat(`\x5a`, 60)), e.b},
	} {
		var before, after []tally
		e.ask(t, ctx, &before, "drops")
		_, _ = c.from.Run(ctx, c.cause[0], c.cause[1:]...) // ping fails, as it should
		soon, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := lab.WaitFor(soon, c.reason+" to be counted", func() error { // by both, which is not one moment
			after = nil
			e.ask(t, ctx, &after, "drops")
			workers, tunnels := dropped(after, "worker", c.reason), dropped(after, "tunnel", c.reason)
			if workers == dropped(before, "worker", c.reason) || c.tunnel && tunnels != workers || !c.tunnel && tunnels != 0 {
				return fmt.Errorf("%s: workers count %d, tunnels %d: %+v", c.reason, workers, tunnels, after)
			}
			return nil
		})
		if cancel(); err != nil {
			t.Error(err)
		}
	}
	out, err := exec.CommandContext(ctx, e.program, "drops", "peer", "--socket", e.sockA).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "bad_icv") || strings.Contains(string(out), "no_route") {
		t.Errorf("drops peer: %v\n%s", err, out)
	}
	e.stop(t, pa, pb)
}

// send is a command that sends a datagram to a.
func send(bytes string) []string {
	return []string{"bash", "-c", fmt.Sprintf("printf '%s' > /dev/udp/%s/4500", bytes, lab.PairA4)}
}

// TestPlaceOfTheUnderlay: sealed packets leave from another network namespace than the engine runs in, with a mark without which
// the host's rules would not let them out, or bound to a device that its routes would not have chosen.
func TestPlaceOfTheUnderlay(t *testing.T) {
	for _, c := range []struct {
		name, wrong, right string
		host               []string
	}{
		{"mark", "mark: 8", "mark: 7", []string{"rule add pref 10 fwmark 7 lookup main", "rule add pref 11 to " + lab.PairB4 + " unreachable"}},
		{"device", "mark: 0", "device: eth0", []string{"tuntap add dead0 mode tun", "link set dead0 up", "route add " + lab.PairB4 + "/32 dev dead0"}},
	} {
		for _, encap := range []string{"always", "never"} {
			t.Run(c.name+" "+encap, func(t *testing.T) {
				e := newEnds(t)
				ctx := limit(t)
				for _, conf := range []string{e.confA, e.confB} {
					edit(t, conf, "encap: always", "encap: "+encap)
				}
				edit(t, e.confA, "udp_port: 4500}", fmt.Sprintf("udp_port: 4500, netns: %q, %s}", e.a.Namespace, c.wrong))
				edit(t, e.confA, fmt.Sprintf(", netns: %q, addresses", e.insideA.Namespace), ", addresses")
				for _, command := range c.host {
					if err := e.a.IP(strings.Fields(command)...); err != nil {
						t.Fatal(err)
					}
				}
				e.fromAnotherPlace(t, ctx, false)
				edit(t, e.confA, c.wrong, c.right)
				e.fromAnotherPlace(t, ctx, true)
			})
		}
	}
}

// fromAnotherPlace runs both ends, that of a in its inner namespace, and checks whether they reach each other.
func (e *ends) fromAnotherPlace(t testing.TB, ctx context.Context, reach bool) {
	t.Helper()
	pb := e.startB(t, ctx)
	pa := e.start(t, ctx, e.insideA, e.insideA, e.confA, e.sockA, "10.2.0.0/16", "fd02::/64")
	const pings = 3
	want, patience := 0, "0.3"
	if reach {
		want, patience = pings, "20"
	}
	if r, err := e.insideA.Ping(ctx, "10.2.0.1", pings, "-W", patience); err != nil || r.Received != want {
		t.Errorf("%+v %v, want %d answers\n%s", r, err, want, pa.Log())
	}
	if out, err := e.insideA.Run(ctx, "ss", "-lnuw"); err != nil || strings.Contains(out, lab.PairA4) {
		t.Errorf("sockets in the engine's namespace: %v\n%s", err, out)
	}
	e.stop(t, pa, pb)
}

// wire is the configuration of one end whose tunnel has a device of its own.
const wire = `underlay: {addresses: [%s], udp_port: 4500}
tunnels:
  peer:
    port: {tun: vti0, netns: %q, addresses: [%s, "%s"]}
    ipsec:
      remote: %s
      static:
        esp: chacha20poly1305
        state_file: %s
        out: {spi: %s, key: "0x%s"}
        in:  {spi: %s, key: "0x%s"}
`

// TestDeviceOfATunnel: two hosts, keys by hand and a device that is one end of a wire, as with a VTI: the kernel's routes decide what
// enters, whatever that is comes out at the other end with its TTL as it was, multicast and link-local packets too.
func TestDeviceOfATunnel(t *testing.T) {
	e := newEnds(t)
	lab.Require(t, "iperf3")
	ctx := limit(t)
	keyAB, keyBA := strings.Repeat("ab", 36), strings.Repeat("ba", 36)
	for path, text := range map[string]string{
		e.confA: fmt.Sprintf(wire, lab.PairA4, e.insideA.Namespace, "10.0.0.0/31", "fd00::/127", lab.PairB4, e.state+"/a.iv", spi1, keyAB, spi2, keyBA),
		e.confB: fmt.Sprintf(wire, lab.PairB4, e.insideB.Namespace, "10.0.0.1/31", "fd00::1/127", lab.PairA4, e.state+"/b.iv", spi2, keyBA, spi1, keyAB),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pa := e.start(t, ctx, e.a, e.insideA, e.confA, e.sockA)
	pb := e.start(t, ctx, e.b, e.insideB, e.confB, e.sockB)
	for _, c := range []struct{ host, command string }{
		{"b", "addr add 10.2.0.1/32 dev lo"}, {"b", "-6 addr add fd02::1/128 dev lo"},
		{"b", "link set lo up"},
		{"a", "route add 10.2.0.0/16 via 10.0.0.1"}, {"a", "-6 route add fd02::/64 via fd00::1"},
	} {
		h := e.insideA
		if c.host == "b" {
			h = e.insideB
		}
		if err := h.IP(strings.Fields(c.command)...); err != nil {
			t.Fatal(err)
		}
	}
	for _, dst := range []string{"10.0.0.1", "fd00::1", "10.2.0.1", "fd02::1"} {
		if r, err := e.insideA.Ping(ctx, dst, 3); err != nil || r.Received != 3 {
			t.Fatalf("%s: %+v %v\na: %s\nb: %s", dst, r, err, pa.Log(), pb.Log())
		}
	}
	seen, err := e.insideB.Capture(ctx, "vti0", "dst", "host", "224.0.0.99", "or", "dst", "host", "ff02::99")
	if err != nil {
		t.Fatal(err)
	}
	e.multicast(t, ctx, seen)
	e.moves(t, ctx, "10.2.0.1")
	e.stop(t, pa, pb)
}

// multicast sends to groups of the link, with the TTL that stays on it.
func (e *ends) multicast(t testing.TB, ctx context.Context, seen *lab.Capture) {
	t.Helper()
	if _, err := e.insideA.Ping(ctx, "224.0.0.99", 3, "-I", "vti0", "-t", "1", "-W", "0.1"); err != nil {
		t.Error(err)
	}
	if _, err := e.insideA.Ping(ctx, "ff02::99%vti0", 3, "-t", "1", "-W", "0.1"); err != nil {
		t.Error(err)
	}
	var out []byte
	err := lab.WaitFor(ctx, "the multicast packets", func() (err error) {
		out, err = exec.CommandContext(ctx, "tcpdump", "-n", "-v", "-r", seen.Path()).CombinedOutput()
		if text := string(out); err == nil && (strings.Count(text, "ttl 1,") < 3 || strings.Count(text, "hlim 1,") < 3) {
			err = fmt.Errorf("not all of them are there with the TTL they had:\n%s", text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := seen.Stop(); err != nil {
		t.Error(err)
	}
}

// moves has a TCP stream cross for a second.
func (e *ends) moves(t testing.TB, ctx context.Context, dst string) {
	t.Helper()
	server, err := e.insideB.Start("iperf3", "-s", "-1")
	if err != nil {
		t.Fatal(err)
	}
	err = server.Wait(ctx, "the stream", func() error {
		out, err := e.insideA.Run(ctx, "iperf3", "-c", dst, "-n", "20M")
		if err == nil && !strings.Contains(out, "iperf Done") {
			err = fmt.Errorf("not done:\n%s", out)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
