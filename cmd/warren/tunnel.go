package main

import (
	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

// newTunnelCommands are up, down and rekey.
func newTunnelCommands() []*cobra.Command {
	one := func(what, short, long string) *cobra.Command {
		var socket, child string
		cmd := &cobra.Command{Use: what + " TUNNEL", Short: short, Long: long, RunE: func(cmd *cobra.Command, args []string) error {
			return warren.NewClient(socket).Tunnel(cmd.Context(), what, args[0], child)
		}}
		cmd.Flags().StringVar(&socket, "socket", warren.DefaultSocket(), "control socket of the engine")
		cmd.Flags().StringVar(&child, "child", "", "only this child SA")
		return cmd
	}
	return []*cobra.Command{
		one("up", "Bring up a tunnel whose keys are negotiated", ""),
		one("down", "End a tunnel's SAs", `down ends a tunnel's SAs. The tunnel comes back as it is configured: by the peer, by a packet, or by up. Keys given by hand stay
away until the engine is run again. Who wants a tunnel away for good takes it out of the file, and reloads.`),
		one("rekey", "Make new keys for a tunnel's IKE SA, or for a child", ""),
	}
}
