//go:build linux

package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const iperfPort = 5201

// Traffic is one iperf3 run from a host to an address of another.
type Traffic struct {
	Server *Host
	Addr   string        // the server's, where it listens
	Bind   string        // the client's source address; chosen by its kernel if empty
	Time   time.Duration // whole seconds; at least one
}

// TCPRate sends one TCP stream and returns what arrived, in bits of payload per second.
func (h *Host) TCPRate(ctx context.Context, tr Traffic) (float64, error) {
	var report struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := h.iperf(ctx, tr, &report); err != nil {
		return 0, err
	}
	return report.End.Received.BitsPerSecond, nil
}

// UDPTrial is the outcome of sending datagrams at one rate.
type UDPTrial struct {
	Rate float64 // datagrams sent per second; less than asked for if the sender could not keep up
	Loss float64 // share that did not arrive, 0 to 1
}

// UDPTrial sends datagrams of size octets of payload at pps per second.
func (h *Host) UDPTrial(ctx context.Context, tr Traffic, size int, pps float64) (UDPTrial, error) {
	var report struct {
		End struct {
			Sum struct {
				Packets     float64 `json:"packets"`
				Seconds     float64 `json:"seconds"`
				LostPercent float64 `json:"lost_percent"`
			} `json:"sum"`
		} `json:"end"`
	}
	bits := strconv.FormatFloat(pps*float64(size)*8, 'f', 0, 64)
	err := h.iperf(ctx, tr, &report, "-u", "-b", bits, "-l", strconv.Itoa(size), "-w", strconv.Itoa(socketBuffer()))
	if err != nil {
		return UDPTrial{}, err
	}
	sum := report.End.Sum
	if sum.Packets == 0 || sum.Seconds == 0 {
		return UDPTrial{}, errors.New("iperf3 sent no datagram")
	}
	return UDPTrial{Rate: sum.Packets / sum.Seconds, Loss: sum.LostPercent / 100}, nil
}

// socketBuffer is the size in octets that keeps the generator's own losses out of what is measured: 4 MiB, or what this
// machine allows at most, since iperf3 refuses to run with less than it asked for.
func socketBuffer() int {
	size := 4 << 20
	for _, limit := range []string{"rmem_max", "wmem_max"} {
		text, err := os.ReadFile("/proc/sys/net/core/" + limit)
		if err != nil {
			continue // iperf3 says if it is too much
		}
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			size = min(size, n)
		}
	}
	return size
}

// iperf runs a server for one client, then the client, and decodes the client's report.
func (h *Host) iperf(ctx context.Context, tr Traffic, report any, args ...string) error {
	seconds := max(1, int(tr.Time/time.Second))
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+20*time.Second)
	defer cancel()

	server, err := tr.Server.Start("iperf3", "-s", "-1", "-B", tr.Addr, "-p", strconv.Itoa(iperfPort))
	if err != nil {
		return err
	}
	defer server.stop(os.Kill)
	if err := server.waitListening(ctx, iperfPort); err != nil {
		return err
	}
	argv := []string{"-c", tr.Addr, "-p", strconv.Itoa(iperfPort), "-t", strconv.Itoa(seconds), "--json"}
	if tr.Bind != "" {
		argv = append(argv, "-B", tr.Bind)
	}
	out, err := h.Run(ctx, "iperf3", append(argv, args...)...)
	var failure struct {
		Error string `json:"error"`
	}
	if jsonErr := json.Unmarshal([]byte(out), &failure); jsonErr == nil && failure.Error != "" {
		return fmt.Errorf("iperf3 to %s: %s", tr.Addr, failure.Error)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), report); err != nil {
		return fmt.Errorf("read the report of iperf3: %w", err)
	}
	return nil
}

// waitListening returns when a TCP socket in the process's network namespace listens on the port.
func (p *Process) waitListening(ctx context.Context, port int) error {
	return p.Wait(ctx, fmt.Sprintf("a listener on TCP port %d", port), func() error {
		for _, table := range []string{"tcp", "tcp6"} {
			if listens(fmt.Sprintf("/proc/%d/net/%s", p.PID(), table), port) {
				return nil
			}
		}
		return errors.New("nobody listens")
	})
}

// listens reads a table of sockets as proc_net_tcp(5) describes it.
func listens(table string, port int) bool {
	f, err := os.Open(table)
	if err != nil {
		return false
	}
	defer f.Close()
	const stateListen = "0A"
	local := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // slot, local address:port, remote address:port, state, …
		if len(fields) > 3 && strings.HasSuffix(fields[1], local) && fields[3] == stateListen {
			return true
		}
	}
	return false
}
