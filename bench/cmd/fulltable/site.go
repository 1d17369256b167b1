//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// The one network that all are on: the kernel's end of warren's TUN device has the addresses of both BIRDs.
const (
	sender, sender6 = "10.77.0.1", "2001:db8:77::1"
	engine, engine6 = "10.77.0.2", "2001:db8:77::2"
	taker           = "10.77.0.3"
	device          = "warren0"
)

const warrenConfig = `vrfs:
  main:
    port: {tun: ` + device + `, netns: %q, addresses: [` + sender + `/24, "` + sender6 + `/64"]}
    bgp:
      local_as: 65002
      router_id: ` + engine + `
      addresses: [` + engine + `, "` + engine6 + `"]
      neighbors:
        - {name: sender, address: ` + sender + `, neighbor_as: 65001, import: all}
        - {name: taker, address: ` + taker + `, neighbor_as: 65003, export: [{from: bgp}]}
`

const birdConfig = `log stderr all;
router id %[1]s;
protocol device {}
%[2]s
protocol bgp warren {
	%[4]s
	local %[1]s as %[3]d;
	neighbor ` + engine + ` as 65002;
	strict bind on;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	ipv4 { import all; export where source = RTS_STATIC; };
	ipv6 { import all; export where source = RTS_STATIC; };
}
`

// site is one namespace with warren and two BIRDs in it.
type site struct {
	lab           *lab.Lab
	host          *lab.Host
	warren        *lab.Process
	client        *warren.Client
	sender, taker *lab.BIRD
}

// newSite starts all three. The taker does not speak before it is told to. The site is to be closed.
func newSite(ctx context.Context, w *world, program string) (s *site, err error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	s = &site{lab: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if s.host, err = l.Host("r"); err != nil {
		return nil, err
	}
	// BIRD reads its million routes before anybody listens, and its session begins when warren's does.
	if err := s.startWarren(ctx, program); err != nil {
		return nil, err
	}
	if s.taker, err = s.startBIRD(ctx, taker, "", 65003); err != nil {
		return nil, err
	}
	statics := filepath.Join(l.Dir(), "statics.conf")
	f, err := os.Create(statics)
	if err != nil {
		return nil, fmt.Errorf("make the routes of BIRD: %w", err)
	}
	if err := errors.Join(w.writeStatics(f), f.Close()); err != nil {
		return nil, fmt.Errorf("write the routes of BIRD: %w", err)
	}
	s.sender, err = s.startBIRD(ctx, sender, fmt.Sprintf("include %q;", statics), 65001)
	return s, err
}

func (s *site) startWarren(ctx context.Context, program string) error {
	file, socket := filepath.Join(s.lab.Dir(), "warren.yaml"), filepath.Join(s.lab.Dir(), "warren.sock")
	if err := os.WriteFile(file, fmt.Appendf(nil, warrenConfig, s.host.Namespace), 0o600); err != nil {
		return fmt.Errorf("write warren's configuration: %w", err)
	}
	var err error
	if s.warren, err = s.host.Start(program, "run", "--socket", socket, file); err != nil {
		return err
	}
	s.client = warren.NewClient(socket)
	err = s.warren.Wait(ctx, "warren", func() error {
		st, err := s.client.Status(ctx)
		if err == nil && st.State != "running" {
			err = errors.New("warren is " + st.State)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.host.AddAddress(device, taker+"/24")
}

func (s *site) close() error { return s.lab.Close() }

// startBIRD starts one whose session is disabled.
func (s *site) startBIRD(ctx context.Context, address, more string, as int) (*lab.BIRD, error) {
	return s.host.StartBIRD(ctx, fmt.Sprintf(birdConfig, address, more, as, "disabled;"))
}

// cpuTime is what a process has used so far, in user and kernel mode (proc(5), fields 14 and 15 of stat).
func cpuTime(p *lab.Process) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("read the CPU time: %w", err)
	}
	_, after, _ := strings.Cut(string(text), ") ") // the name before may have spaces
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("read the CPU time: %q", text)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / userHZ), nil
}

// userHZ is what the kernel counts CPU time in for others, on every architecture that Go knows.
const userHZ = 100

// memory is what a process has resident, and what it had at most, in octets.
func memory(p *lab.Process) (now, most int64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		kB, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // other lines are no numbers
		switch name {
		case "VmRSS":
			now = kB << 10
		case "VmHWM":
			most = kB << 10
		}
	}
	return now, most, lines.Err()
}
