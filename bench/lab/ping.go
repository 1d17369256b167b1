//go:build linux

package lab

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PingResult is what ping(8) counted.
type PingResult struct {
	Sent, Received int
	RTT            time.Duration // average; zero if none came back
	Output         string        // of ping, with the ICMP errors that came instead of answers
}

var (
	pingCounts = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)
	pingRTT    = regexp.MustCompile(`rtt min/avg/max/mdev = [\d.]+/([\d.]+)/`)
)

// Ping sends count echo requests, all at once, and waits until all are answered, ten seconds at the most. Further arguments are
// ping's own: "-s", "1400" for the payload in octets, "-M", "do" to forbid fragments, "-I", ADDR for the source, "-W", "0.5" for
// who does not want to wait that long for answers that are not to come. That answers are missing is no error.
//
// With "-i" the requests are sent one by one. Then ping waits for the last ones only as long as twice the slowest answer took,
// whatever "-W" says: on a busy machine an answer may be missing that was merely late, unless "-w" has ping go on until all have come.
func (h *Host) Ping(ctx context.Context, dst string, count int, args ...string) (PingResult, error) {
	argv := []string{"-n", "-W", "10", "-c", strconv.Itoa(count)}
	if !slices.Contains(args, "-i") {
		// The interval is for how long ping is occupied with a packet that cannot be sent.
		argv = append(argv, "-l", strconv.Itoa(count), "-i", "0.01")
	}
	argv = append(argv, args...)
	out, err := h.Run(ctx, "ping", append(argv, dst)...)
	result := PingResult{Output: out}
	counts := pingCounts.FindStringSubmatch(out)
	if counts == nil {
		if err == nil {
			err = fmt.Errorf("ping %s wrote no summary: %s", dst, out)
		}
		return result, err
	}
	// The patterns admit digits only; ping's own counts fit.
	result.Sent, _ = strconv.Atoi(counts[1])
	result.Received, _ = strconv.Atoi(counts[2])
	if rtt := pingRTT.FindStringSubmatch(out); rtt != nil {
		ms, _ := strconv.ParseFloat(rtt[1], 64)
		result.RTT = time.Duration(ms * float64(time.Millisecond))
	}
	return result, ctx.Err()
}

// WaitReachable pings until an answer comes or the context ends, once a second where none does. Arguments are as in [Host.Ping].
func (h *Host) WaitReachable(ctx context.Context, dst string, args ...string) error {
	return WaitFor(ctx, "an answer from "+dst+" to host "+h.Name, func() error {
		result, err := h.Ping(ctx, dst, 1, append([]string{"-W", "1"}, args...)...)
		if err != nil {
			return err
		}
		if result.Received == 0 {
			return fmt.Errorf("no answer: %s", strings.TrimSpace(result.Output))
		}
		return nil
	})
}
