package main

import (
	"fmt"
	"io"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

func newForward() *cobra.Command {
	var socket string
	var cfg warren.ForwardConfig
	cmd := &cobra.Command{
		Use:   "forward LISTEN TO",
		Short: "Join a socket of the host with what lies behind the tunnels, until Ctrl-C",
		Long: `forward asks a running engine to carry connections, as ssh -L and -R do, until Ctrl-C or until the engine stops.
Where LISTEN is an address of the engine's own stack, the stack listens there and the engine connects to TO from its host.
Otherwise the engine listens on its host, and connects to TO through the stack and its tunnels.`,
		Example: `  warren forward 127.0.0.1:8080 10.1.0.5:80                    what is behind the tunnel, at hand here
  warren forward 10.9.0.7:22 127.0.0.1:22                      what is here, for those behind the tunnel
  warren forward --protocol udp 127.0.0.1:5353 10.1.0.1:53`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if cfg.Listen, err = netip.ParseAddrPort(args[0]); err != nil {
				return usageError{fmt.Errorf("%q is no address with a port; want one as 127.0.0.1:8080 or [::1]:8080", args[0])}
			}
			cfg.To = args[1]
			return warren.NewClient(socket).Forward(cmd.Context(), cfg, func(s warren.ForwardStatus) { printForward(cmd.OutOrStdout(), &s) })
		},
	}
	cmd.Flags().StringVar(&socket, "socket", warren.DefaultSocket(), "control socket of the engine")
	cmd.Flags().StringVar(&cfg.Protocol, "protocol", "tcp", "tcp or udp")
	cmd.Flags().StringVar(&cfg.VRF, "vrf", "", "vrf whose stack it is, where there are several")
	cmd.Flags().IntVar(&cfg.MaxConnections, "max-connections", warren.DefaultMaxConnections, "how many may be open at a time")
	cmd.Flags().DurationVar(&cfg.IdleTimeout, "idle-timeout", 0, "how long a source of UDP may be silent (default "+warren.DefaultIdleTimeout.String()+")")
	return cmd
}

// printForward says what listens now. The port may be one that the system chose.
func printForward(w io.Writer, s *warren.ForwardStatus) {
	fmt.Fprintf(w, "%s listens on %v/%s and forwards to %s; Ctrl-C ends it\n", where(s), s.Listen, s.Protocol, s.To)
}

// where is who listens.
func where(s *warren.ForwardStatus) string {
	if s.In == "stack" {
		return "stack of " + s.VRF
	}
	return s.In
}

// printForwards tells of the forwards in the status.
func printForwards(w io.Writer, all []warren.ForwardStatus) {
	t := newTable(w, "FORWARD", "LISTENS IN", "TO", "OPEN", "TOTAL", "SENT", "RECEIVED", "OVER LIMIT", "ERRORS", "LAST ERROR")
	for i := range all {
		s := &all[i]
		t.row(fmt.Sprintf("%v/%s", s.Listen, s.Protocol), where(s), s.To, s.Open, s.Total, size(s.SentBytes), size(s.ReceivedBytes), s.Limited, s.Errors, s.LastError)
	}
	t.flush()
}
