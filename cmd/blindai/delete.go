package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

// newDeleteCommand makes `blindai delete`.
func newDeleteCommand() *cobra.Command {
	var (
		server serverFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "delete ID",
		Short: "Delete a model",
		Long: `Delete makes a server forget the model with this id. Runs under way end as usual;
if the same file was uploaded more than once, its other ids go on working.

It prints nothing if all went well.`,
		Example: `  blindai delete 0d2c3b1e-6c0f-4a55-9d8e-1b1f5a1f4c11`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), server.timeout)
			defer cancel()
			connection, err := server.connect(ctx)
			if err != nil {
				return err
			}
			request := struct {
				ModelID string `cbor:"model_id"`
			}{args[0]}
			var null any
			if err := connection.post(ctx, server.manage, "/delete", request, &null, nil); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"deleted": args[0]})
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the deleted id as JSON")
	server.add(cmd, "manage")
	return cmd
}
