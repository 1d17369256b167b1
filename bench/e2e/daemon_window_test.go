//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// TestSmallWindowUnderLoad: two workers seal as much as they can with one SA, and wait for a processor at any time. A peer whose
// replay window is 128 takes what they send, but for a batch now and then whose worker had to wait within its system call.
func TestSmallWindowUnderLoad(t *testing.T) {
	for _, c := range []struct {
		encap string
		size  int
	}{{"always", 64}, {"always", 1300}, {"never", 64}, {"never", 1300}} {
		t.Run(fmt.Sprintf("encap %s, %d bytes", c.encap, c.size), func(t *testing.T) {
			fairly(t, func(t testing.TB) {
				e := newEnds(t)
				ctx := limit(t)
				for _, conf := range []string{e.confA, e.confB} {
					edit(t, conf, "encap: always", "encap: "+c.encap)
					edit(t, conf, "{tun: warren0,", "{tun: warren0, queues: 2,")
					edit(t, conf, "underlay:", "workers: 2\nunderlay:")
				}
				edit(t, e.confB, "remote: ", "replay_window: 128\n      remote: ")
				pa, pb := e.startA(t, ctx), e.startB(t, ctx)
				if err := e.insideA.WaitReachable(ctx, "10.2.0.1"); err != nil {
					t.Fatalf("%v\na: %s\nb: %s", err, pa.Log(), pb.Log())
				}
				sent := e.floods(t, c.size)
				var ts []struct {
					In    uint64 `json:"in_packets"`
					Drops map[string]uint64
				}
				e.sockA = e.sockB
				if e.ask(t, ctx, &ts, "tunnels"); len(ts) != 1 {
					t.Fatalf("%+v", ts)
				}
				t.Logf("%d datagrams sent, %d arrived, dropped: %v", sent, ts[0].In, ts[0].Drops)
				// How much arrives is not what is tested, so long as it is enough to tell.
				const rare, enough = 200, 5000
				if late := ts[0].Drops["replayed"] + ts[0].Drops["too_old"]; ts[0].In < enough || late*rare > ts[0].In {
					t.Errorf("of %d datagrams %d arrived, dropped: %v", sent, ts[0].In, ts[0].Drops)
				}
				e.stop(t, pa, pb)
			})
		})
	}
}

// floods sends datagrams of many flows for two seconds, as fast as it can, and says how many. Nothing comes back: the kernel would
// have all flows read by the worker that wrote the answers.
func (e *ends) floods(t testing.TB, size int) int {
	t.Helper()
	const flows = 8
	to := netip.MustParseAddrPort("10.2.0.1:9000")
	listen := func(h *lab.Host, at string) (conn *net.UDPConn) {
		t.Helper()
		err := h.Inside(func() (err error) {
			conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	listen(e.insideB, to.String()) // so that nobody complains
	var sent atomic.Int64
	var senders sync.WaitGroup
	end := time.Now().Add(2 * time.Second)
	for range flows {
		conn := listen(e.insideA, "10.1.0.1:0")
		senders.Go(func() {
			data := make([]byte, size)
			for time.Now().Before(end) {
				if _, err := conn.WriteToUDPAddrPort(data, to); err == nil {
					sent.Add(1)
				}
			}
		})
	}
	senders.Wait()
	return int(sent.Load())
}
