"""What the program deploys: applications, their database groups, and the servers behind them.

Nothing here reads a configuration file, a stack's name or the network: a component is given its arguments.
"""
