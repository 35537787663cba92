"""`glipv2 finetune`: from somebody's files and weights to new weights, with every choice said and why."""
