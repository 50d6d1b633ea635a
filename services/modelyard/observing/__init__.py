"""What is noted of requests that were answered, beside how many and how fast.

    Observer.answered      once for a request, when its answer is on its way
        drift_watch.py     its rows by the bins of the version's reference  -> metrics
        predictions.py     its answer by the request's id, until somebody sends the true value to /feedback
        payload_log.py     a sample of requests and answers -> a file, or an HTTP sink

None of it can slow or fail a request: each is bounded, and what does not fit is counted.
"""
