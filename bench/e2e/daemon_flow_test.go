//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/bench/lab"
)

// TestMSSClamp: a tunnel that is told to keeps TCP from ever sending what does not fit, both ways, for hosts whose devices take more
// and whose kernels leave checksums to the device.
func TestMSSClamp(t *testing.T) {
	e := newEnds(t)
	lab.Require(t, "iperf3", "tcpdump")
	ctx := limit(t)
	for _, conf := range []string{e.confA, e.confB} {
		edit(t, conf, "tun: warren0,", "tun: warren0, mtu: 1500,")
	}
	edit(t, e.confA, "  peer:\n", "  peer:\n    mss_clamp: yes\n")
	pa, pb := e.startA(t, ctx), e.startB(t, ctx)
	if err := e.insideA.WaitReachable(ctx, "10.2.0.1"); err != nil {
		t.Fatal(err)
	}
	var seen []*lab.Capture
	for _, h := range []*lab.Host{e.insideA, e.insideB} {
		// Nothing but what is looked for: of all that crosses, a busy machine would not capture everything.
		c, err := h.Capture(ctx, "warren0", syns)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, c)
	}
	e.moves(t, ctx, "10.2.0.1")
	e.moves(t, ctx, "fd02::1")
	for i, want := range [][]string{
		{"[S] mss 1460", "[S] mss 1440", "[S.] mss 1398", "[S.] mss 1378"}, // a's own words, and b's as they came
		{"[S] mss 1398", "[S] mss 1378", "[S.] mss 1460", "[S.] mss 1440"},
	} {
		if err := seen[i].Stop(); err != nil {
			t.Error(err)
		}
		got := segmentSizes(t, ctx, seen[i].Path())
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("host %d: no %s in\n%s", i, w, got)
			}
		}
	}
	var all []tally
	if e.ask(t, ctx, &all, "drops"); dropped(all, "worker", "too_big") > 0 {
		t.Errorf("something did not fit: %+v", all)
	}
	e.stop(t, pa, pb)
}

// syns is a filter for the first segments of TCP connections.
const syns = "tcp[tcpflags] & tcp-syn != 0 or (ip6 and ip6[6] == 6 and ip6[53] & 2 != 0)"

// segmentSizes lists the flags and the MSS of the SYNs of a capture.
func segmentSizes(t testing.TB, ctx context.Context, path string) string {
	t.Helper()
	out, err := exec.CommandContext(ctx, "tcpdump", "-n", "-r", path, syns).CombinedOutput()
	if err != nil {
		t.Fatalf("tcpdump: %v\n%s", err, out)
	}
	var lines []string
	for _, m := range regexp.MustCompile(`Flags (\[S\.?\w*\]).*?(mss \d+)`).FindAllStringSubmatch(string(out), -1) {
		lines = append(lines, m[1]+" "+m[2])
	}
	return strings.Join(lines, "\n")
}

// TestPeerMoves: an end that is reached from another address follows its peer there without losing anything, once a packet was
// authentic, and does not follow a stranger.
func TestPeerMoves(t *testing.T) {
	for _, encap := range []string{"always", "never"} {
		t.Run(encap, func(t *testing.T) {
			e := newEnds(t)
			ctx := limit(t)
			for _, conf := range []string{e.confA, e.confB} {
				edit(t, conf, "encap: always", "encap: "+encap)
			}
			edit(t, e.confB, "addresses: ["+lab.PairB4+"]", "addresses: [0.0.0.0]")
			pa, pb := e.startA(t, ctx), e.startB(t, ctx)
			reach := func(h *lab.Host, dst string) {
				t.Helper()
				if r, err := h.Ping(ctx, dst, 5); err != nil || r.Received != 5 {
					t.Fatalf("%s: %+v %v\na: %s\nb: %s", dst, r, err, pa.Log(), pb.Log())
				}
			}
			remote := func(want string) {
				t.Helper()
				var ts []struct{ Remote string }
				if e.ask(t, ctx, &ts, "tunnels"); len(ts) != 1 || !strings.HasPrefix(ts[0].Remote, want) {
					t.Errorf("the peer is at %+v, want %s", ts, want)
				}
			}
			const elsewhere = "192.0.2.99"
			reach(e.insideA, "10.2.0.1")
			remote(lab.PairB4)
			for _, command := range []string{"addr add " + elsewhere + "/24 dev eth0", "route add " + lab.PairA4 + "/32 dev eth0 src " + elsewhere} {
				if err := e.b.IP(strings.Fields(command)...); err != nil {
					t.Fatal(err)
				}
			}
			if encap == "always" { // from the new address, but not from the peer
				known := `\xcf\x24\x26\xb6\x00\x00\xff\x01` + strings.Repeat(`\x5a`, 60)
				if out, err := e.b.Run(ctx, "bash", "-c", fmt.Sprintf("printf '%s' > /dev/udp/%s/4500", known, lab.PairA4)); err != nil {
					t.Fatal(out, err)
				}
				err := lab.WaitFor(ctx, "the stranger's packet", func() error {
					var all []tally
					if e.ask(t, ctx, &all, "drops"); dropped(all, "tunnel", "bad_icv") == 0 {
						return fmt.Errorf("%+v", all)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				remote(lab.PairB4)
			}
			reach(e.insideB, "10.1.0.1")
			remote(elsewhere)
			reach(e.insideA, "10.2.0.1")
			e.stop(t, pa, pb)
		})
	}
}
