"""How a fleet of replicas scales: a model, a simulation, and a measurement that both are compared with."""
