"""`make render`: the program in this process, without the Pulumi command line, a cluster or an account."""
