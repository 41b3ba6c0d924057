"""Ways to make a plan of a question; each is a QuestionPlanner."""
