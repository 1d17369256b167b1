package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren"
)

func newCapture() *cobra.Command {
	var socket, file string
	var cfg warren.CaptureConfig
	cmd := &cobra.Command{
		Use:   "capture TUNNEL",
		Short: "Write a tunnel's packets, clear and sealed, for Wireshark and tcpdump",
		Long: `capture has a running engine copy the packets of a tunnel, in pcapng, until Ctrl-C, until the reader of the pipe or the
tunnel has gone, or until --count or --duration is reached. The clear side are packets before they are sealed and after they were
opened, each a frame's worth or, where the port gives more at once, one that is longer than any MTU. The sealed side are the
frames between the gateways; those that come in are there before anybody knows whether they are good. Packets never wait for
the capture: what is missing in it is counted. What was captured before the end is written, however slowly it is read; a second
Ctrl-C does not wait for that. The clear side shows what the tunnel protects: a file is made for its owner alone.`,
		Example: `  warren capture b -w b.pcapng
  warren capture b --side clear | tcpdump -nr -
  warren capture b | wireshark -k -i -
  warren capture b --side sealed -c 100 -w sealed.pcapng`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"clear", "sealed", "both"}, cfg.Side) {
				return usageError{fmt.Errorf("--side %s: there are clear, sealed and both", cfg.Side)}
			}
			if cfg.Duration < 0 {
				return usageError{fmt.Errorf("--duration %v: want a time as 20s or 5m", cfg.Duration)}
			}
			cfg.Tunnel = args[0]
			return runCapture(cmd, warren.NewClient(socket), cfg, file)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", warren.DefaultSocket(), "control socket of the engine")
	cmd.Flags().StringVar(&cfg.Side, "side", "both", "clear, sealed or both")
	cmd.Flags().StringVarP(&file, "write", "w", "-", "file to write; - is standard output")
	cmd.Flags().Uint64VarP(&cfg.Count, "count", "c", 0, "end after so many packets of both sides together (0 is never)")
	cmd.Flags().DurationVar(&cfg.Duration, "duration", 0, "end after so long, as 20s or 5m (0 is never)")
	return cmd
}

func runCapture(cmd *cobra.Command, c *warren.Client, cfg warren.CaptureConfig, file string) error {
	out := &captureOutput{to: standardOutput(cmd), name: file}
	if file == "-" && isTerminal(out.to) {
		return usageError{errors.New("a capture is not for terminals: name a file with -w FILE, or send it on with | tcpdump -nr -")}
	}
	// Without this the program would end by a signal, and without a word, when the reader of a pipe goes.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	// The end waits for whoever reads it; a second Ctrl-C does not.
	defer context.AfterFunc(cmd.Context(), func() { signal.Reset(os.Interrupt, syscall.SIGTERM) })()
	ctx, unread := context.WithCancel(cmd.Context())
	report, err := c.Capture(ctx, cfg, func() (io.Writer, error) { return out.open(ctx, unread) })
	readerGone := errors.Is(err, syscall.EPIPE) || ctx.Err() != nil && cmd.Context().Err() == nil
	unread()
	if e := out.close(); err == nil {
		err = e
	}
	if readerGone {
		err, report.Why = nil, "the reader has gone"
	}
	if err == nil && out.opened {
		fmt.Fprintf(cmd.ErrOrStderr(), "warren: %d packets captured, %d missing; %s\n", report.Written, report.Dropped, report.Why)
	}
	return err
}

// standardOutput is the file itself: terminals and pipes are asked what they are.
func standardOutput(cmd *cobra.Command) io.Writer {
	if o, ok := cmd.OutOrStdout().(*output); ok {
		return o.to
	}
	return cmd.OutOrStdout()
}

// captureOutput is where a capture goes.
type captureOutput struct {
	to      io.Writer // standard output until it is open
	name    string
	file    *os.File // nil for standard output
	opened  bool
	watched chan struct{}
}

// open is called when the engine has agreed, so that a mistake leaves an older file alone. A named pipe opens when it has a reader.
// It calls unread when the reader of a pipe has gone, until ctx ends.
func (o *captureOutput) open(ctx context.Context, unread func()) (io.Writer, error) {
	if o.name != "-" {
		type opened struct {
			file *os.File
			err  error
		}
		done := make(chan opened, 1)
		go func() {
			f, err := os.OpenFile(o.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			done <- opened{f, err}
		}()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("open %s: nobody reads it", o.name)
		case d := <-done:
			if d.err != nil {
				return nil, d.err
			}
			o.to, o.file = d.file, d.file
		}
	}
	o.opened, o.watched = true, make(chan struct{})
	go func() {
		defer close(o.watched)
		watchReader(ctx, o.to, unread)
	}()
	return o.to, nil
}

// close is called when open's context has ended.
func (o *captureOutput) close() error {
	if o.watched != nil {
		<-o.watched
	}
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// watchEvery is how often a pipe is asked whether somebody reads it.
const watchEvery = 250 * time.Millisecond

// watchReader calls gone when nobody reads a pipe any more, also while there is nothing to be written. It returns then, or when
// ctx ends.
func watchReader(ctx context.Context, w io.Writer, gone func()) {
	f, ok := w.(*os.File)
	if !ok {
		return
	}
	every := time.NewTicker(watchEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd())}}
		if n, err := unix.Poll(fds, 0); err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
			gone()
			return
		}
	}
}
