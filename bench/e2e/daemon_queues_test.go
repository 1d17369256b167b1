//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/bench/lab"
)

// TestTwoQueues: several flows through devices of two queues each. Both queues are read, nothing is taken for a replay or broken, both
// ways, and next to nothing is overtaken: see TestSmallWindowUnderLoad for what a worker that has to wait may lose.
func TestTwoQueues(t *testing.T) {
	e := newEnds(t)
	lab.Require(t, "iperf3")
	ctx := limit(t)
	for _, conf := range []string{e.confA, e.confB} {
		edit(t, conf, "{tun: warren0,", "{tun: warren0, queues: 2,")
		edit(t, conf, "underlay:", "workers: 2\nunderlay:")
	}
	pa, pb := e.startA(t, ctx), e.startB(t, ctx)
	if err := e.insideA.WaitReachable(ctx, "10.2.0.1"); err != nil {
		t.Fatalf("%v\na: %s\nb: %s", err, pa.Log(), pb.Log())
	}
	if queues, err := e.insideA.Run(ctx, "ls", "/sys/class/net/warren0/queues"); err != nil || !strings.Contains(queues, "tx-1") {
		t.Errorf("the device has %q, %v", queues, err)
	}
	for _, log := range []string{pa.Log(), pb.Log()} {
		if strings.Contains(log, "lacking") {
			t.Errorf("the device is not what was asked for:\n%s", log)
		}
	}
	e.manyFlows(t, ctx)
	e.bothQueuesRead(t, ctx)
	var ts []struct {
		In    uint64 `json:"in_packets"`
		Drops map[string]uint64
	}
	for _, sock := range []string{e.sockA, e.sockB} {
		e.sockA = sock
		if e.ask(t, ctx, &ts, "tunnels"); len(ts) != 1 || ts[0].Drops["replayed"]+ts[0].Drops["bad_icv"] > 0 || ts[0].Drops["too_old"]*1000 > ts[0].In {
			t.Errorf("dropped: %+v", ts)
		}
	}
	for _, p := range []*lab.Process{pa, pb} {
		if err := p.Stop(); err != nil {
			t.Errorf("SIGTERM: %v\n%s", err, p.Log())
		}
	}
}

// manyFlows moves eight TCP streams at once, each way, over IPv4 and IPv6.
func (e *ends) manyFlows(t testing.TB, ctx context.Context) {
	t.Helper()
	for _, args := range [][]string{{"-c", "10.2.0.1"}, {"-c", "10.2.0.1", "-R"}, {"-c", "fd02::1"}} {
		for try := 1; ; try++ { // a second is short: a machine may stand still for as long
			moved := e.eightFlows(t, ctx, args)
			if moved == 8 {
				break
			}
			if try == maxTries {
				t.Errorf("iperf3 %v: %d of 8 flows moved anything", args, moved)
				break
			}
		}
	}
}

// eightFlows has iperf3 move eight streams for a second, and says how many of them did.
func (e *ends) eightFlows(t testing.TB, ctx context.Context, args []string) (moved int) {
	t.Helper()
	server, err := e.insideB.Start("iperf3", "-s", "-1")
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Error string
		End   struct {
			Streams []struct {
				Receiver struct{ Bytes float64 }
			}
		}
	}
	err = server.Wait(ctx, "the flows", func() error {
		out, err := e.insideA.Run(ctx, "iperf3", append(args, "-P", "8", "-t", "1", "-J")...)
		report.Error = ""
		if err == nil {
			err = json.Unmarshal([]byte(out), &report)
		}
		if err == nil && report.Error != "" { // for which the exit status is 0: the server does not listen yet
			err = errors.New(report.Error)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range report.End.Streams {
		if s.Receiver.Bytes > 0 {
			moved++
		}
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	return moved
}

// bothQueuesRead sends datagrams of many flows to where no route leads: each worker counts what it drops.
func (e *ends) bothQueuesRead(t testing.TB, ctx context.Context) {
	t.Helper()
	const flows = 64
	if err := e.insideA.IP("route", "add", "10.77.0.0/16", "dev", "warren0"); err != nil {
		t.Fatal(err)
	}
	_, err := e.insideA.Run(ctx, "bash", "-c", fmt.Sprintf("for i in {1..%d}; do echo x > /dev/udp/10.77.0.1/$((5000+i)); done; true", flows))
	if err != nil {
		t.Fatal(err)
	}
	err = lab.WaitFor(ctx, "the drops to be counted", func() error {
		var tallies []struct {
			Where, Name string
			Drops       map[string]uint64
		}
		e.ask(t, ctx, &tallies, "drops")
		var dropping int
		var sum uint64
		for _, w := range tallies {
			if n := w.Drops["no_route"]; w.Where == "worker" && n > 0 {
				dropping++
				sum += n
			}
		}
		if dropping != 2 || sum < flows {
			return fmt.Errorf("%d workers dropped %d of %d: %+v", dropping, sum, flows, tallies)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
