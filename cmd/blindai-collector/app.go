package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/collector"
)

func newAppCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "app",
		Short:   "Add and list the apps whose events are collected",
		Example: "  blindai-collector app add coffee --plan coffee.json",
	}
	var data string
	var asJSON bool
	cmd.PersistentFlags().StringVar(&data, "data", "blindai-collector-data", "folder that keeps everything")
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON for machines")
	cmd.AddCommand(newAppAddCommand(&data, &asJSON), newAppListCommand(&data, &asJSON))
	return cmd
}

func newAppAddCommand(data *string, asJSON *bool) *cobra.Command {
	var planFile string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add an app by its plan, and print its keys",
		Long: `add takes a plan in JSON, makes an API key and a secret key for the app, and
prints them. The secret key is shown only this once. The collector must not be
running on the folder.`,
		Example: "  blindai-collector app add coffee --plan coffee.json --data /var/lib/blindai-collector",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := collector.ReadPlan(planFile)
			if err != nil {
				return err
			}
			return withFolder(*data, func(f *collector.Folder) error {
				keys, err := f.AddApp(args[0], p, collector.Keys{})
				if err != nil {
					return err
				}
				if *asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(keys)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "API key     %s\nSecret key  %s\n", keys.API, keys.Secret)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&planFile, "plan", "", "file with the app's plan, in JSON")
	if err := cmd.MarkFlagRequired("plan"); err != nil {
		panic(err)
	}
	return cmd
}

func newAppListCommand(data *string, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the apps with their API keys",
		Example: "  blindai-collector app list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withFolder(*data, func(f *collector.Folder) error {
				return listApps(cmd.OutOrStdout(), f.Apps(), *asJSON)
			})
		},
	}
}

func listApps(out io.Writer, apps []*collector.App, asJSON bool) error {
	if asJSON {
		type row struct {
			Name   string `json:"name"`
			APIKey string `json:"api_key"`
			Plan   int    `json:"plan_version"`
		}
		rows := []row{}
		for _, a := range apps {
			rows = append(rows, row{a.Name, a.APIKey, a.Plan.Version})
		}
		return json.NewEncoder(out).Encode(rows)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "APP\tPLAN\tAPI KEY")
	for _, a := range apps {
		fmt.Fprintf(w, "%s\tversion %d\t%s\n", a.Name, a.Plan.Version, a.APIKey)
	}
	return w.Flush()
}

// withFolder runs f on the data folder, which must be there already: a mistyped
// name must not make a new one.
func withFolder(dir string, f func(*collector.Folder) error) (err error) {
	if _, err := os.Stat(dir); err != nil {
		return errors.New("the data folder is not there; name the collector's with --data, or start the collector once to make it")
	}
	folder, err := collector.OpenFolder(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	return f(folder)
}
