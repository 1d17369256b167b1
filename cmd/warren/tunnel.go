package main

import (
	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

// newTunnelCommands are up, down and rekey.
func newTunnelCommands() []*cobra.Command {
	one := func(what, short string) *cobra.Command {
		var socket, child string
		cmd := &cobra.Command{Use: what + " TUNNEL", Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			return warren.NewClient(socket).Tunnel(cmd.Context(), what, args[0], child)
		}}
		cmd.Flags().StringVar(&socket, "socket", warren.DefaultSocket(), "control socket of the engine")
		cmd.Flags().StringVar(&child, "child", "", "only this child SA")
		return cmd
	}
	return []*cobra.Command{
		one("up", "Bring up a tunnel whose keys are negotiated"),
		one("down", "End a tunnel's SAs"),
		one("rekey", "Make new keys for a tunnel's IKE SA, or for a child"),
	}
}
