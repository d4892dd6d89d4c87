package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ambit-nhi/ambit/agent"
)

func newDoctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what can be watched on this machine, and how to get the rest",
		Long: `Look at what watching needs on this machine (privileges, kernel, cgroups), and try every hook on its kernel without attaching it.
It ends with exit code 1 if something is missing without which nothing can be watched.`,
		Args: noArgs,
	}
	form := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d, out := agent.Diagnose(), cmd.OutOrStdout()
		if err := print(out, *form, &d, d.Checks, doctorColumns); err != nil {
			return err
		}
		if *form == outputTable {
			for _, c := range d.Checks {
				if c.Status != agent.CheckOK {
					fmt.Fprintf(out, "\n%s is %s: %s.\n  %s.\n", c.Name, c.Status, c.Meaning, c.Remedy)
				}
			}
			if d.Ready {
				fmt.Fprintln(out, "\nThis machine can be watched.")
			}
		}
		if !d.Ready {
			return fmt.Errorf("this machine cannot be watched; missing: %s", strings.Join(d.Missing(), ", "))
		}
		return nil
	}
	return cmd
}

var doctorColumns = []column[agent.Check]{
	{"CHECK", func(c *agent.Check) string { return c.Name }, "name", func(c *agent.Check) string { return c.Name }},
	{"STATUS", func(c *agent.Check) string { return string(c.Status) }, "status", func(c *agent.Check) string { return string(c.Status) }},
	{"FOUND", func(c *agent.Check) string { return c.Found }, "found", func(c *agent.Check) string { return c.Found }},
	{Name: "meaning", Value: func(c *agent.Check) string { return c.Meaning }},
	{Name: "remedy", Value: func(c *agent.Check) string { return c.Remedy }},
}
