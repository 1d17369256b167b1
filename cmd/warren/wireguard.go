package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/tunnel/wireguard/quick"
)

// newKeyCommands are genkey, pubkey and genpsk, as wg(8) has them.
func newKeyCommands() []*cobra.Command {
	generate := func(use, short string, make func() (quick.Key, error)) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := make()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), key.Base64())
			return err
		}}
	}
	return []*cobra.Command{
		generate("genkey", "Make a WireGuard private key", quick.GenKey),
		generate("genpsk", "Make a WireGuard preshared key", quick.GenPSK),
		{
			Use:     "pubkey",
			Short:   "Print the public key of the private key on standard input",
			Example: "  warren genkey | tee private.key | warren pubkey > public.key",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<10))
				if err != nil {
					return fmt.Errorf("read the private key: %w", err)
				}
				key, err := quick.ParseKey(strings.TrimSpace(string(text)))
				if err != nil {
					return errors.New("what came on standard input is no WireGuard key; want what `warren genkey` prints")
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), key.Public())
				return err
			},
		},
	}
}

func newImport() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE.conf",
		Short: "Print the YAML for a wg-quick file, its keys included",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			yaml, ignored, err := warren.ImportQuick(args[0])
			if err != nil {
				return err
			}
			for _, i := range ignored {
				fmt.Fprintf(cmd.ErrOrStderr(), "warren: %s: ignored: %v\n", args[0], i)
			}
			_, err = cmd.OutOrStdout().Write(yaml)
			return err
		},
	}
}
